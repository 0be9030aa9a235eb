//! The file as a whole: typed access by name.

use super::assignment::{Assignment, Assignments};
use super::domain::{DomainConf, SUFFIXES};
use super::ifconfig::{Ifconfig, Setting};
use super::value::Value;
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::xen_cmdline::XenCmdline;

/// Names that are understood as they stand. Domain-0 (crate `console`) is no entry of `domains`, but has an image and a
/// command line too.
const KNOWN: [&str; 7] = [
    "xen_kernel",
    "xen_cmdline",
    "boot_verbose",
    "domains",
    "cloned_interfaces",
    "console_kernel",
    "console_cmdline",
];

/// A loader.conf. Every question reads the text again: the file is small, and the hypervisor has no heap to keep
/// answers in. When a name is assigned twice, the last line that is correct syntax wins, as in FreeBSD.
#[derive(Clone, Copy, Debug)]
pub struct LoaderConf<'a> {
    file: &'a [u8],
}

impl<'a> LoaderConf<'a> {
    /// A view of `file`; whatever the bytes are, mistakes come out of [`LoaderConf::diagnostics`].
    #[must_use]
    pub fn new(file: &'a [u8]) -> Self {
        LoaderConf { file }
    }

    /// Every assignment and every syntax error, in the file's order.
    #[must_use]
    pub fn assignments(&self) -> Assignments<'a> {
        Assignments::new(self.file)
    }

    pub(super) fn find(&self, wanted: impl Fn(&'a str) -> bool) -> Option<Assignment<'a>> {
        self.assignments()
            .filter_map(Result::ok)
            .filter(|a| wanted(a.name.text))
            .last()
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Value<'a>> {
        self.find(|candidate| candidate == name).map(|a| a.value)
    }

    /// `xen_kernel`: the path of the hypervisor's image.
    ///
    /// # Errors
    /// The value has escapes.
    pub fn xen_kernel(&self) -> Result<Option<Span<'a>>, Diagnostic<'a>> {
        self.get("xen_kernel")
            .map(|value| value.plain("xen_kernel"))
            .transpose()
    }

    /// `xen_cmdline`: the hypervisor's options as text; see [`LoaderConf::xen_options`].
    ///
    /// # Errors
    /// The value has escapes.
    pub fn xen_cmdline(&self) -> Result<Option<Span<'a>>, Diagnostic<'a>> {
        self.get("xen_cmdline")
            .map(|value| value.plain("xen_cmdline"))
            .transpose()
    }

    /// `xen_cmdline`, read. Mistakes go to `report`, with their place in loader.conf; what is not said or not
    /// understood has Xen's default.
    pub fn xen_options(&self, report: impl FnMut(Diagnostic<'a>)) -> XenCmdline<'a> {
        let mut report = report;
        match self.xen_cmdline() {
            Ok(text) => XenCmdline::parse(text.unwrap_or(Span::new("")), report),
            Err(error) => {
                report(error);
                XenCmdline::default()
            }
        }
    }

    /// `console_kernel`: the path of Domain-0's image. Without it, the image is `/boot/console`.
    ///
    /// # Errors
    /// The value has escapes.
    pub fn console_kernel(&self) -> Result<Option<Span<'a>>, Diagnostic<'a>> {
        self.get("console_kernel")
            .map(|value| value.plain("console_kernel"))
            .transpose()
    }

    /// `console_cmdline`: Domain-0's command line, unescaped by the reader ([`Value::characters`]).
    #[must_use]
    pub fn console_cmdline(&self) -> Option<Value<'a>> {
        self.get("console_cmdline")
    }

    /// `boot_verbose`: `YES` or `NO` (also true/false, on/off, 1/0, in any case); `NO` without it.
    ///
    /// # Errors
    /// The value is something else.
    pub fn boot_verbose(&self) -> Result<bool, Diagnostic<'a>> {
        self.truth("boot_verbose")
    }

    /// `YES` or `NO`; `NO` without it.
    pub(super) fn truth(&self, name: &'a str) -> Result<bool, Diagnostic<'a>> {
        let Some(value) = self.get(name) else {
            return Ok(false);
        };
        let text = value.plain(name)?;
        let is = |words: [&str; 4]| {
            words
                .iter()
                .any(|word| text.text.eq_ignore_ascii_case(word))
        };
        if is(["yes", "true", "on", "1"]) {
            Ok(true)
        } else if is(["no", "false", "off", "0"]) {
            Ok(false)
        } else {
            Err(Diagnostic::error(name, text, "expected YES or NO"))
        }
    }

    /// `domains`: the domains to build at boot, in this order, each once; or the error in a name's place.
    pub fn domains(
        &self,
    ) -> impl Iterator<Item = Result<DomainConf<'a>, Diagnostic<'a>>> + use<'a> {
        let conf = *self;
        let text = self
            .get("domains")
            .map(|value| value.plain("domains"))
            .transpose();
        let error = text.err();
        let list = text.ok().flatten().unwrap_or(Span::new(""));
        let names = list.words().enumerate().map(move |(index, name)| {
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let reserved = ["xen", "Domain-0", "dom0", "boot", "console"];
            if !name.text.chars().all(valid) || name.text.len() > 32 {
                Err(Diagnostic::error(
                    "domains",
                    name,
                    "expected a name of at most 32 letters, digits, '_', '-' or '.'",
                ))
            } else if reserved.contains(&name.text) {
                Err(Diagnostic::error(
                    "domains",
                    name,
                    "expected another name: this one has a meaning already",
                ))
            } else if list
                .words()
                .take(index)
                .any(|earlier| earlier.text == name.text)
            {
                Err(Diagnostic::error(
                    "domains",
                    name,
                    "expected each domain once",
                ))
            } else {
                Ok(DomainConf { name, conf })
            }
        });
        error.map(Err).into_iter().chain(names)
    }

    /// `cloned_interfaces`: the bridges to make. Names with a `\` are left out.
    pub fn cloned_interfaces(&self) -> impl Iterator<Item = Span<'a>> + use<'a> {
        let text = self
            .get("cloned_interfaces")
            .and_then(|value| value.plain("cloned_interfaces").ok());
        text.unwrap_or(Span::new("")).words()
    }

    /// `ifconfig_<interface>`: its settings.
    ///
    /// # Errors
    /// The value has escapes.
    pub fn ifconfig(&self, interface: &str) -> Result<Option<Ifconfig<'a>>, Diagnostic<'a>> {
        let Some(found) = self.find(|name| name.strip_prefix("ifconfig_") == Some(interface))
        else {
            return Ok(None);
        };
        Ok(Some(Ifconfig::new(found.value.plain(found.name.text)?)))
    }

    /// Names that mean nothing here, in the file's order: they are ignored.
    pub fn warnings(&self) -> impl Iterator<Item = Diagnostic<'a>> + use<'a> {
        let conf = *self;
        self.assignments()
            .filter_map(Result::ok)
            .filter_map(move |assignment| {
                let name = assignment.name;
                let of_domain = |domain: &str| {
                    name.text
                        .strip_prefix(domain)
                        .is_some_and(|rest| SUFFIXES.contains(&rest))
                };
                // Domain-0 is always built, without being listed.
                if KNOWN.contains(&name.text)
                    || name.text.starts_with("ifconfig_")
                    || of_domain("console")
                    || conf.is_of_md_image(name.text)
                {
                    return None;
                }
                if conf
                    .domains()
                    .filter_map(Result::ok)
                    .any(|domain| of_domain(domain.name.text))
                {
                    return None;
                }
                let reason = if SUFFIXES.iter().any(|suffix| name.text.ends_with(suffix)) {
                    "ignored, because 'domains' names no such domain"
                } else {
                    "ignored, because microhv has no such setting"
                };
                Some(Diagnostic::warning(
                    name.text,
                    Span { text: "", ..name },
                    reason,
                ))
            })
    }

    /// Everything there is to say about the file: syntax, values, unknown names, and the options in `xen_cmdline`.
    pub fn diagnostics(&self, report: impl FnMut(Diagnostic<'a>)) {
        let mut report = report;
        self.assignments()
            .filter_map(Result::err)
            .for_each(&mut report);
        self.xen_kernel().err().into_iter().for_each(&mut report);
        self.console_kernel()
            .err()
            .into_iter()
            .for_each(&mut report);
        self.boot_verbose().err().into_iter().for_each(&mut report);
        self.xen_options(&mut report);
        self.md_images()
            .filter_map(Result::err)
            .for_each(&mut report);
        for domain in self.domains() {
            match domain {
                Ok(domain) => domain.errors().for_each(&mut report),
                Err(error) => report(error),
            }
        }
        if let Some(error) = self
            .get("cloned_interfaces")
            .and_then(|value| value.plain("cloned_interfaces").err())
        {
            report(error);
        }
        for assignment in self.assignments().filter_map(Result::ok) {
            if let Some(interface) = assignment.name.text.strip_prefix("ifconfig_") {
                self.report_ifconfig(assignment.name.text, interface, &mut report);
            }
        }
        self.warnings().for_each(&mut report);
    }

    fn report_ifconfig(
        &self,
        name: &'a str,
        interface: &str,
        report: &mut impl FnMut(Diagnostic<'a>),
    ) {
        match self.ifconfig(interface) {
            Err(error) => report(error),
            Ok(settings) => settings
                .into_iter()
                .flatten()
                .for_each(|setting| match setting {
                    Setting::Malformed(span, reason) => {
                        report(Diagnostic::error(name, span, reason))
                    }
                    Setting::Unknown(span) => report(Diagnostic::warning(
                        name,
                        span,
                        "ignored, because microhv has no such setting",
                    )),
                    _ => {}
                }),
        }
    }
}
