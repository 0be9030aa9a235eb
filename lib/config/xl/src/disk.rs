//! `disk = [ 'SPEC', ... ]`: xl-disk-configuration(5), with its old forms.

use crate::error::{SpecError, quoted};
use crate::vdev::{self, Vdev};
use alloc::format;
use alloc::string::{String, ToString};

/// Format of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A plain device or image.
    Raw,
    /// QEMU's first copy-on-write format.
    Qcow,
    /// QEMU's second.
    Qcow2,
    /// Virtual PC's.
    Vhd,
    /// QEMU's enhanced disk.
    Qed,
    /// A drive with no medium.
    Empty,
}

/// One virtual disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Device or image in the backend; `None` for an empty drive.
    pub target: Option<String>,
    /// The image's format.
    pub format: Format,
    /// The disk's name as written.
    pub vdev: String,
    /// The disk's number.
    pub number: Vdev,
    /// Whether the guest may write.
    pub writable: bool,
    /// Others may use what it writes (`w!`, as Xen's block script has it).
    pub shared: bool,
    /// Whether it is a CD drive.
    pub cdrom: bool,
    /// The backend's domain, by name or id; `None` leaves it to the caller.
    pub backend: Option<String>,
    /// `phy`, `qdisk`, `standalone` or `tap`; `None` leaves it to the caller.
    pub backendtype: Option<String>,
    /// `xen` (also when `None`) or `virtio`.
    pub specification: Option<String>,
    /// A program that makes sense of `target`.
    pub script: Option<String>,
    /// Whether the backend offers discard; `None` leaves it to the backend.
    pub discard: Option<bool>,
    /// Whether the frontend should trust the backend; `None` is yes.
    pub trusted: Option<bool>,
    /// `direct-io-safe` is given.
    pub direct_io_safe: bool,
}

/// What has been said so far; each thing may be said once.
#[derive(Default)]
struct Draft<'a> {
    target: Option<&'a str>,
    format: Option<Format>,
    old_prefix: bool,
    vdev: Option<&'a str>,
    access: Option<bool>,
    shared: bool,
    access_position_used: bool,
    cdrom: Option<bool>,
    backend: Option<&'a str>,
    backendtype: Option<&'a str>,
    specification: Option<&'a str>,
    script: Option<String>,
    discard: Option<bool>,
    trusted: Option<bool>,
    direct_io_safe: bool,
}

impl Disk {
    /// Reads one specification.
    ///
    /// # Errors
    /// The first part that is wrong, or what is missing.
    pub fn parse(spec: &str) -> Result<Disk, SpecError> {
        let mut draft = Draft::default();
        let mut rest = spec;
        while !rest.is_empty() {
            rest = draft.parameter(spec, rest.trim_start())?;
        }
        draft.finish(spec)
    }

    /// Is it made of a file? Else of a device: what is in `/dev`, or has no path.
    #[must_use]
    pub fn is_file(&self) -> bool {
        let target = self.target.as_deref().unwrap_or_default();
        target.starts_with('/') && !target.starts_with("/dev/")
    }
}

impl<'a> Draft<'a> {
    /// Takes one parameter off `rest`; returns what is behind it.
    fn parameter(&mut self, spec: &'a str, rest: &'a str) -> Result<&'a str, SpecError> {
        // By name, the target is everything that follows.
        if let Some(target) = rest.strip_prefix("target=") {
            self.set_target(spec, target)?;
            return Ok("");
        }
        if let Some((prefix, behind)) = rest.split_once(':')
            && self.prefix(spec, prefix, behind)?
        {
            return Ok(behind);
        }
        let (part, behind) = rest.split_once(',').unwrap_or((rest, ""));
        let part = part.trim_end();
        match part.split_once('=') {
            Some((key, value)) => self.named(spec, part, key, value)?,
            None if self.flag(part) => {}
            None => self.positional(spec, part)?,
        }
        Ok(behind)
    }

    /// The old `phy:`, `file:`, `raw:` and their like. Whether `prefix` is one.
    fn prefix(
        &mut self,
        spec: &'a str,
        prefix: &'a str,
        behind: &'a str,
    ) -> Result<bool, SpecError> {
        match prefix {
            "raw" | "qcow" | "qcow2" | "vhd" => self.set_format(spec, prefix)?,
            "iscsi" | "nbd" | "enbd" | "drbd" => self.script = Some(format!("block-{prefix}")),
            "tapdisk" | "tap" | "tap2" | "aio" | "ioemu" | "file" | "phy" => {}
            _ => {
                let word = prefix.starts_with(|c: char| c.is_ascii_lowercase())
                    && prefix
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
                if word
                    && !behind.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                {
                    return Err(SpecError::new(
                        spec,
                        prefix,
                        format!("unknown disk prefix {}", quoted(prefix)),
                    ));
                }
                return Ok(false);
            }
        }
        self.old_prefix = true;
        Ok(true)
    }

    fn flag(&mut self, part: &str) -> bool {
        match part {
            "cdrom" => self.cdrom = Some(true),
            "discard" => self.discard = Some(true),
            "no-discard" => self.discard = Some(false),
            "trusted" => self.trusted = Some(true),
            "untrusted" => self.trusted = Some(false),
            "direct-io-safe" => self.direct_io_safe = true,
            _ => return false,
        }
        true
    }

    fn named(
        &mut self,
        spec: &'a str,
        part: &'a str,
        key: &str,
        value: &'a str,
    ) -> Result<(), SpecError> {
        match key {
            "format" => self.set_format(spec, value),
            "vdev" => self.set_vdev(spec, value),
            "access" => self.set_access(spec, value),
            "devtype" => self.set_devtype(spec, value),
            "backend" => once(spec, &mut self.backend, value, "backend"),
            "backendtype" => {
                one_of(
                    spec,
                    value,
                    &["phy", "qdisk", "standalone", "tap"],
                    "backendtype",
                )?;
                once(spec, &mut self.backendtype, value, "backendtype")
            }
            "specification" => {
                one_of(spec, value, &["xen", "virtio"], "specification")?;
                once(spec, &mut self.specification, value, "specification")
            }
            "script" => {
                self.script = Some(value.to_string());
                Ok(())
            }
            _ => Err(SpecError::new(
                spec,
                part,
                format!("unknown disk parameter {}", quoted(part)),
            )),
        }
    }

    /// target, format, vdev, access: the first that is not said yet.
    fn positional(&mut self, spec: &'a str, part: &'a str) -> Result<(), SpecError> {
        if self.target.is_none() {
            self.target = Some(part);
            Ok(())
        } else if !self.old_prefix && self.format.is_none() {
            // ",hdc:cdrom,r": xend's empty CD drive has no place for a format.
            if self.target == Some("") && self.vdev_and_devtype(spec, part)? {
                self.format = Some(Format::Empty);
                return Ok(());
            }
            self.set_format(spec, part)
        } else if self.vdev.is_none() {
            if self.vdev_and_devtype(spec, part)? {
                Ok(())
            } else {
                self.set_vdev(spec, part)
            }
        } else if !self.access_position_used {
            self.access_position_used = true;
            self.set_access(spec, part)
        } else {
            Err(SpecError::new(
                spec,
                part,
                format!("too many parameters without a name, at {}", quoted(part)),
            ))
        }
    }

    /// `hdc:cdrom`. Whether `part` has that form.
    fn vdev_and_devtype(&mut self, spec: &'a str, part: &'a str) -> Result<bool, SpecError> {
        let Some((vdev, devtype)) = part.rsplit_once(':') else {
            return Ok(false);
        };
        self.set_vdev(spec, vdev)?;
        self.set_devtype(spec, devtype)?;
        Ok(true)
    }

    fn set_target(&mut self, spec: &'a str, target: &'a str) -> Result<(), SpecError> {
        once(spec, &mut self.target, target, "target")
    }

    fn set_vdev(&mut self, spec: &'a str, vdev: &'a str) -> Result<(), SpecError> {
        once(spec, &mut self.vdev, vdev, "vdev")
    }

    fn set_devtype(&mut self, spec: &str, devtype: &str) -> Result<(), SpecError> {
        one_of(spec, devtype, &["cdrom", "disk"], "devtype")?;
        self.cdrom = Some(devtype == "cdrom");
        Ok(())
    }

    fn set_access(&mut self, spec: &str, access: &str) -> Result<(), SpecError> {
        self.shared = access.ends_with('!');
        self.access = match access {
            "r" | "ro" => Some(false),
            "w" | "rw" => Some(true),
            "w!" | "rw!" => Some(true),
            "" => None,
            _ => {
                return Err(SpecError::new(
                    spec,
                    access,
                    format!("expected access r, ro, w or rw, found {}", quoted(access)),
                ));
            }
        };
        Ok(())
    }

    fn set_format(&mut self, spec: &str, text: &str) -> Result<(), SpecError> {
        let format = match text {
            "raw" | "" => Format::Raw,
            "qcow" => Format::Qcow,
            "qcow2" => Format::Qcow2,
            "vhd" => Format::Vhd,
            "qed" => Format::Qed,
            "empty" => Format::Empty,
            _ => {
                let reason = format!(
                    "expected format raw, qcow, qcow2, vhd or qed, found {}",
                    quoted(text)
                );
                return Err(SpecError::new(spec, text, reason));
            }
        };
        match self.format {
            Some(earlier) if earlier != format => {
                Err(SpecError::new(spec, text, "the format is given twice"))
            }
            _ => {
                self.format = Some(format);
                Ok(())
            }
        }
    }

    fn finish(self, spec: &str) -> Result<Disk, SpecError> {
        let end = spec.get(spec.len()..).unwrap_or("");
        let cdrom = self.cdrom.unwrap_or(false);
        let name = self.vdev.filter(|v| !v.is_empty());
        let name = name.ok_or_else(|| {
            SpecError::new(spec, end, "expected a virtual disk (vdev) such as xvda")
        })?;
        let number = Vdev::parse(name).ok_or_else(|| {
            SpecError::new(
                spec,
                name,
                format!("{}, found {}", vdev::EXPECTED, quoted(name)),
            )
        })?;
        let target = self.target.filter(|t| !t.is_empty());
        if target.is_none() && !cdrom {
            return Err(SpecError::new(
                spec,
                end,
                "expected a target, because the disk is no CD drive",
            ));
        }
        let format = if target.is_none() {
            Format::Empty
        } else {
            self.format.unwrap_or(Format::Raw)
        };
        Ok(Disk {
            target: target.map(ToString::to_string),
            format,
            vdev: name.to_string(),
            number,
            writable: !cdrom && self.access.unwrap_or(true),
            shared: self.shared,
            cdrom,
            backend: self.backend.map(ToString::to_string),
            backendtype: self.backendtype.map(ToString::to_string),
            specification: self.specification.map(ToString::to_string),
            script: self.script,
            discard: self.discard,
            trusted: self.trusted,
            direct_io_safe: self.direct_io_safe,
        })
    }
}

/// Sets `place` unless it is set already; an empty value may be replaced, as in xl.
fn once<'a>(
    spec: &str,
    place: &mut Option<&'a str>,
    value: &'a str,
    name: &str,
) -> Result<(), SpecError> {
    if place.is_some_and(|earlier| !earlier.is_empty()) {
        return Err(SpecError::new(
            spec,
            value,
            format!("the {name} is given twice"),
        ));
    }
    *place = Some(value);
    Ok(())
}

fn one_of(spec: &str, value: &str, allowed: &[&str], name: &str) -> Result<(), SpecError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(SpecError::new(
        spec,
        value,
        format!(
            "expected {name} {}, found {}",
            allowed.join(", "),
            quoted(value)
        ),
    ))
}
