//! The settings of one boot-time domain.

use super::pptdevs::{self, Pptdev};
use super::value::Value;
use super::view::LoaderConf;
use crate::cpu_list::{self, CpuList};
use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::{number, size};

/// The suffixes behind a domain's name; `<domain><suffix>` is its setting.
pub(super) const SUFFIXES: [&str; 6] = [
    "_kernel", "_memory", "_pptdevs", "_vcpus", "_cpus", "_cmdline",
];

/// vCPUs that one domain may have: as many as fit the 2-level event channels' vcpu_info in shared_info
/// (`XEN_LEGACY_MAX_VCPUS`).
pub const MAX_VCPUS: u32 = 32;

/// One domain of `domains="..."` and its `<domain>_...` settings.
#[derive(Clone, Copy, Debug)]
pub struct DomainConf<'a> {
    /// The name, and where `domains` says it.
    pub name: Span<'a>,
    pub(super) conf: LoaderConf<'a>,
}

impl<'a> DomainConf<'a> {
    fn setting(&self, suffix: &str) -> Option<(&'a str, Value<'a>)> {
        self.conf
            .find(|name| name.strip_prefix(self.name.text) == Some(suffix))
            .map(|a| (a.name.text, a.value))
    }

    /// `<domain>_kernel`: the path of its image. Without it, the image is `/boot/<domain>`.
    ///
    /// # Errors
    /// The value is empty or has escapes.
    pub fn kernel(&self) -> Result<Option<Span<'a>>, Diagnostic<'a>> {
        let Some((name, value)) = self.setting("_kernel") else {
            return Ok(None);
        };
        let path = value.plain(name)?;
        if path.text.is_empty() {
            return Err(Diagnostic::error(
                name,
                path,
                "expected the path of an image",
            ));
        }
        Ok(Some(path))
    }

    /// `<domain>_memory` in bytes.
    ///
    /// # Errors
    /// The value is no size, or zero.
    pub fn memory(&self) -> Result<Option<u64>, Diagnostic<'a>> {
        let Some((name, value)) = self.setting("_memory") else {
            return Ok(None);
        };
        let text = value.plain(name)?;
        match size::whole(text.text) {
            Some(bytes) if bytes > 0 => Ok(Some(bytes)),
            _ => Err(Diagnostic::error(name, text, size::EXPECTED)),
        }
    }

    /// `<domain>_vcpus`: how many vCPUs it has, 1 to [`MAX_VCPUS`].
    ///
    /// # Errors
    /// The value is no such number.
    pub fn vcpus(&self) -> Result<Option<u32>, Diagnostic<'a>> {
        let Some((name, value)) = self.setting("_vcpus") else {
            return Ok(None);
        };
        let text = value.plain(name)?;
        match number::whole_as::<u32>(text.text) {
            Some(count) if (1..=MAX_VCPUS).contains(&count) => Ok(Some(count)),
            _ => Err(Diagnostic::error(
                name,
                text,
                "expected a number of vCPUs from 1 to 32",
            )),
        }
    }

    /// `<domain>_cpus`: the host CPUs its vCPUs may run on, in xl.cfg's syntax.
    ///
    /// # Errors
    /// The value is no CPU list.
    pub fn cpus(&self) -> Result<Option<CpuList>, Diagnostic<'a>> {
        let Some((name, value)) = self.setting("_cpus") else {
            return Ok(None);
        };
        match CpuList::parse(value.plain(name)?) {
            Ok(list) => Ok(Some(list)),
            Err(part) => Err(Diagnostic::error(name, part, cpu_list::EXPECTED)),
        }
    }

    /// `<domain>_cmdline`: given to its kernel, unescaped by the reader ([`Value::characters`]).
    #[must_use]
    pub fn cmdline(&self) -> Option<Value<'a>> {
        self.setting("_cmdline").map(|(_, value)| value)
    }

    /// `<domain>_pptdevs`: its devices, each an address or the error in its place.
    pub fn pptdevs(&self) -> impl Iterator<Item = Result<Pptdev, Diagnostic<'a>>> + use<'a> {
        let (name, text) = match self.setting("_pptdevs") {
            None => ("", Ok(Span::new(""))),
            Some((name, value)) => (name, value.plain(name)),
        };
        let error = text.err();
        let words = text.unwrap_or(Span::new("")).words();
        let devices = words.map(move |word| {
            Pptdev::parse(word).ok_or(Diagnostic::error(name, word, pptdevs::EXPECTED))
        });
        error.map(Err).into_iter().chain(devices)
    }

    /// Every error in this domain's settings.
    pub fn errors(&self) -> impl Iterator<Item = Diagnostic<'a>> + use<'a> {
        let single = [
            self.kernel().err(),
            self.memory().err(),
            self.vcpus().err(),
            self.cpus().err(),
        ];
        single
            .into_iter()
            .flatten()
            .chain(self.pptdevs().filter_map(Result::err))
    }
}
