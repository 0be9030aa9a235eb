//! From words to options.

use super::{
    BOOLEAN_EXPECTED, Com, ConsoleList, Dom0, Dom0MaxVcpus, Dom0Mem, Iommu, LogLevel, SpecCtrl,
    XenCmdline, named_boolean,
};
use crate::diagnostic::Diagnostic;
use crate::span::Span;

impl<'a> XenCmdline<'a> {
    /// Reads the words of `text`; later ones win. `--` ends the hypervisor's options.
    ///
    /// Each unknown option is a warning to `report`, each bad value an error with its place.
    pub fn parse(text: Span<'a>, report: impl FnMut(Diagnostic<'a>)) -> Self {
        let mut report = report;
        let mut options = XenCmdline {
            text: text.text,
            ..XenCmdline::default()
        };
        for word in text.words().take_while(|word| word.text != "--") {
            if let Err(diagnostic) = options.read(word, &mut report) {
                report(diagnostic);
            }
        }
        options
    }

    fn read(
        &mut self,
        word: Span<'a>,
        report: &mut dyn FnMut(Diagnostic<'a>),
    ) -> Result<(), Diagnostic<'a>> {
        for (name, flag) in [
            ("sync_console", &mut self.sync_console),
            ("noreboot", &mut self.noreboot),
            ("apicv", &mut self.apicv),
        ] {
            if let Some(value) = named_boolean(word.text, name) {
                *flag = value.ok_or(Diagnostic::error(name, word, BOOLEAN_EXPECTED))?;
                return Ok(());
            }
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.text, Some(value)),
            None => (word.text, None),
        };
        // A list with only "no" in it: Xen reads `no-iommu` as `iommu=no`.
        if name == "no-iommu" && value.is_none() {
            self.iommu.enabled = false;
            return Ok(());
        }
        if name == "no-spec-ctrl" && value.is_none() {
            self.spec_ctrl.enabled = false;
            return Ok(());
        }
        let known = [
            "dom0_mem",
            "dom0_max_vcpus",
            "dom0",
            "dom0pvh",
            "console",
            "com1",
            "com2",
            "loglvl",
            "guest_loglvl",
            "iommu",
            "spec-ctrl",
            "ept",
        ];
        if !known.contains(&name) {
            let reason = "ignored, because microhv has no such option";
            return Err(Diagnostic::warning("xen_cmdline", word, reason));
        }
        let value = match value {
            Some(value) if !value.text.is_empty() => value,
            Some(value) => {
                return Err(Diagnostic::error(
                    name,
                    value,
                    "expected a value behind '='",
                ));
            }
            None if name == "iommu" => return Ok(()),
            None => {
                return Err(Diagnostic::error(
                    name,
                    word.end(),
                    "expected '=' and a value",
                ));
            }
        };
        match name {
            "dom0_mem" => self.dom0_mem = Some(Dom0Mem::parse(value)?),
            "dom0_max_vcpus" => self.dom0_max_vcpus = Some(Dom0MaxVcpus::parse(value)?),
            "dom0" => self.dom0 = Dom0::parse(self.dom0, value, report)?,
            "dom0pvh" => Dom0::parse_dom0pvh(value)?,
            "console" => self.console = ConsoleList::parse(value, report)?,
            "com1" => self.com1 = Com::parse(Com::COM1, "com1", value)?,
            "com2" => self.com2 = Com::parse(Com::COM2, "com2", value)?,
            "loglvl" => self.loglvl = LogLevel::parse("loglvl", value)?,
            "guest_loglvl" => self.guest_loglvl = LogLevel::parse("guest_loglvl", value)?,
            "spec-ctrl" => self.spec_ctrl = SpecCtrl::parse(self.spec_ctrl, value, report)?,
            "ept" => self.spec_ctrl = SpecCtrl::parse_ept(self.spec_ctrl, value, report)?,
            _ => self.iommu = Iommu::parse(self.iommu, value, report)?,
        }
        Ok(())
    }
}
