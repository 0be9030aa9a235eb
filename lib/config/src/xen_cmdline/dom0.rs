//! `dom0_mem`, `dom0_max_vcpus`, `dom0`.

use super::{BOOLEAN_EXPECTED, boolean, named_boolean};
use crate::diagnostic::Diagnostic;
use crate::number;
use crate::size;
use crate::span::Span;

/// `<size>`, `-<size>` or `[<size>+]<frac>%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoryAmount {
    /// Bytes.
    pub bytes: u64,
    /// The bytes are taken away from all that is available.
    pub negative: bool,
    /// A part of the host's memory that is added, in percent, below 100.
    pub percent: u8,
}

impl MemoryAmount {
    /// Bytes, on a host with `available` bytes to give.
    #[must_use]
    pub fn resolve(&self, available: u64) -> u64 {
        if self.negative {
            return available.saturating_sub(self.bytes);
        }
        let fraction = u128::from(available) * u128::from(self.percent) / 100;
        self.bytes
            .saturating_add(u64::try_from(fraction).unwrap_or(u64::MAX))
    }

    fn parse(text: Span<'_>) -> Option<MemoryAmount> {
        if let Some(size) = text.strip_prefix("-") {
            return size::whole(size.text).map(|bytes| MemoryAmount {
                bytes,
                negative: true,
                percent: 0,
            });
        }
        let (bytes, fraction) = match text.split_once('+') {
            Some((bytes, fraction)) => (size::whole(bytes.text)?, fraction.text),
            None if text.text.ends_with('%') => (0, text.text),
            None => {
                return size::whole(text.text).map(|bytes| MemoryAmount {
                    bytes,
                    ..MemoryAmount::default()
                });
            }
        };
        let percent = number::whole_as::<u8>(fraction.strip_suffix('%')?).filter(|p| *p < 100)?;
        Some(MemoryAmount {
            bytes,
            negative: false,
            percent,
        })
    }
}

/// `dom0_mem`: a list of `<sz>`, `min:<sz>`, `max:<sz>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dom0Mem {
    /// The amount to start with.
    pub size: Option<MemoryAmount>,
    /// At least this much.
    pub min: Option<MemoryAmount>,
    /// At most this much, now and later.
    pub max: Option<MemoryAmount>,
}

impl Dom0Mem {
    pub(super) fn parse(value: Span<'_>) -> Result<Dom0Mem, Diagnostic<'_>> {
        let mut memory = Dom0Mem::default();
        for part in value.split(',') {
            let (target, amount) = if let Some(amount) = part.strip_prefix("min:") {
                (&mut memory.min, amount)
            } else if let Some(amount) = part.strip_prefix("max:") {
                (&mut memory.max, amount)
            } else {
                (&mut memory.size, part)
            };
            let expected = "expected a size such as 64M, -128M, 1G+25%, min:64M or max:1G";
            *target = Some(
                MemoryAmount::parse(amount)
                    .ok_or(Diagnostic::error("dom0_mem", amount, expected))?,
            );
        }
        Ok(memory)
    }

    /// Bytes for Domain-0 on a host with `available` bytes to give; `max` overrides `min`.
    ///
    /// Without a size it is all but the smaller of 1/16 and 128 MiB, as in Xen.
    #[must_use]
    pub fn resolve(&self, available: u64) -> u64 {
        let reserve = (available / 16).min(128 << 20);
        let size = self
            .size
            .map_or(available - reserve, |amount| amount.resolve(available));
        let least = self.min.map_or(0, |amount| amount.resolve(available));
        let most = self
            .max
            .map_or(u64::MAX, |amount| amount.resolve(available));
        size.max(least).min(most).min(available)
    }

    /// The most memory that Domain-0 may ever have, in bytes; `None` is no limit.
    #[must_use]
    pub fn limit(&self, available: u64) -> Option<u64> {
        self.max.map(|amount| amount.resolve(available))
    }
}

/// `dom0_max_vcpus`: a number, or bounds around the host's number of CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dom0MaxVcpus {
    /// At least this many.
    pub min: u32,
    /// At most this many.
    pub max: u32,
}

impl Dom0MaxVcpus {
    pub(super) fn parse(value: Span<'_>) -> Result<Dom0MaxVcpus, Diagnostic<'_>> {
        let error = || {
            Diagnostic::error(
                "dom0_max_vcpus",
                value,
                "expected a number from 1 on, or bounds such as 1-4",
            )
        };
        let bound = |text: &str, default: u32| match text {
            "" => Ok(default),
            _ => number::whole_as::<u32>(text)
                .filter(|n| *n > 0)
                .ok_or_else(error),
        };
        let (min, max) = match value.split_once('-') {
            None => (value.text, value.text),
            Some((min, max)) => (min.text, max.text),
        };
        let bounds = Dom0MaxVcpus {
            min: bound(min, 1)?,
            max: bound(max, u32::MAX)?,
        };
        if bounds.min > bounds.max {
            Err(error())
        } else {
            Ok(bounds)
        }
    }

    /// How many vCPUs Domain-0 has on a host with `cpus` CPUs.
    #[must_use]
    pub fn resolve(&self, cpus: u32) -> u32 {
        cpus.max(self.min).min(self.max)
    }
}

/// `dom0`: how Domain-0 is built. It is always a PVH domain here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Dom0 {
    /// Print each step of its building.
    pub verbose: bool,
}

impl Dom0 {
    pub(super) fn parse<'a>(
        before: Dom0,
        value: Span<'a>,
        report: &mut dyn FnMut(Diagnostic<'a>),
    ) -> Result<Dom0, Diagnostic<'a>> {
        let mut dom0 = before;
        for part in value.split(',') {
            if part.text == "pvh" {
                continue;
            }
            if part.text == "pv" {
                return Err(Diagnostic::error(
                    "dom0",
                    part,
                    "expected pvh, the only kind of domain that microhv builds",
                ));
            }
            if let Some(verbose) = named_boolean(part.text, "verbose") {
                dom0.verbose = verbose.ok_or(Diagnostic::error("dom0", part, BOOLEAN_EXPECTED))?;
                continue;
            }
            let without_effect = ["shadow", "cpuid-faulting", "msr-relaxed", "pf-fixup"];
            if !without_effect
                .iter()
                .any(|name| named_boolean(part.text, name).is_some())
            {
                return Err(Diagnostic::error("dom0", part, "expected pvh or verbose"));
            }
            report(Diagnostic::warning(
                "dom0",
                part,
                "ignored, because it has no effect in microhv",
            ));
        }
        Ok(dom0)
    }

    /// `dom0pvh=1`, the name of `dom0=pvh` before Xen 4.11.
    pub(super) fn parse_dom0pvh(value: Span<'_>) -> Result<(), Diagnostic<'_>> {
        match boolean(value.text) {
            Some(true) => Ok(()),
            _ => Err(Diagnostic::error(
                "dom0pvh",
                value,
                "expected 1, because microhv builds PVH domains only",
            )),
        }
    }
}
