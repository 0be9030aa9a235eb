//! The typed configuration of one guest.

use crate::action::Action;
use crate::disk::Disk;
use crate::error::{Error, quoted};
use crate::keys::WITHOUT_EFFECT;
use crate::settings::Settings;
use crate::syntax;
use crate::uuid::Uuid;
use crate::value::{Kind, Position};
use crate::vif::Vif;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use config::Span;
use config::cpu_list::{self, CpuList};

/// What kind of virtualisation the guest expects (`type=`, or the older `builder=`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainType {
    /// A paravirtual guest.
    Pv,
    /// The kind that microhv runs.
    Pvh,
    /// A guest that expects a whole PC.
    Hvm,
}

/// Host CPUs that the guest's vCPUs may run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// The same for each.
    All(CpuList),
    /// The first entry for vCPU 0 and so on; vCPUs behind the end run anywhere.
    PerVcpu(Vec<CpuList>),
}

impl Affinity {
    /// The CPUs of one vCPU.
    #[must_use]
    pub fn of(&self, vcpu: usize) -> CpuList {
        match self {
            Affinity::All(list) => *list,
            Affinity::PerVcpu(lists) => lists.get(vcpu).copied().unwrap_or(CpuList::ALL),
        }
    }
}

/// A guest as its configuration file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainConfig {
    /// `name`, unique on a host.
    pub name: String,
    /// `type` or `builder`; `None` when the file has neither (xl then assumes PV, microhv PVH).
    pub domain_type: Option<DomainType>,
    /// `uuid`; `None` lets the caller make one.
    pub uuid: Option<Uuid>,
    /// `memory` in MiB; `None` if the file does not say.
    pub memory: Option<u64>,
    /// `maxmem` in MiB, `memory` if not given.
    pub maxmem: Option<u64>,
    /// `vcpus` that are online at the start, 1 if not given.
    pub vcpus: u32,
    /// `maxvcpus`, `vcpus` if not given.
    pub maxvcpus: u32,
    /// `cpus`; `None` is all.
    pub cpus: Option<Affinity>,
    /// `cpu_weight`, 256 if not given.
    pub cpu_weight: u32,
    /// `cap` in percent of one CPU; 0 is none.
    pub cap: u32,
    /// `kernel`: path of its image.
    pub kernel: Option<String>,
    /// `ramdisk`: path of its initial RAM disk.
    pub ramdisk: Option<String>,
    /// `cmdline`, or `root` and `extra` put together as xl does.
    pub cmdline: String,
    /// `bootloader`, a program that finds the kernel on the guest's disk.
    pub bootloader: Option<String>,
    /// `bootloader_args`: what it is told.
    pub bootloader_args: Vec<String>,
    /// `firmware`.
    pub firmware: Option<String>,
    /// `boot`: order of devices, for HVM guests.
    pub boot: Option<String>,
    /// `disk`.
    pub disks: Vec<Disk>,
    /// `vif`.
    pub vifs: Vec<Vif>,
    /// `pci`: devices to pass through, as text.
    pub pci: Vec<String>,
    /// `on_poweroff`, destroy if not given.
    pub on_poweroff: Action,
    /// `on_reboot`, restart if not given.
    pub on_reboot: Action,
    /// `on_crash`, destroy if not given.
    pub on_crash: Action,
    /// `on_watchdog`, destroy if not given.
    pub on_watchdog: Action,
    /// `on_soft_reset`, soft-reset if not given.
    pub on_soft_reset: Action,
    /// `vnc`.
    pub vnc: Option<bool>,
    /// `vnclisten`: address, and display behind a colon.
    pub vnclisten: Option<String>,
    /// `vncdisplay`.
    pub vncdisplay: Option<u32>,
    /// `vncunused`.
    pub vncunused: Option<bool>,
    /// `vncpasswd`.
    pub vncpasswd: Option<String>,
    /// `keymap`.
    pub keymap: Option<String>,
    /// `serial`: one or more.
    pub serial: Vec<String>,
    /// `usbdevice`: one or more.
    pub usbdevice: Vec<String>,
    /// `localtime`.
    pub localtime: Option<bool>,
    /// `max_event_channels`, `max_grant_frames`, `max_maptrack_frames`: `None` is the hypervisor's limit.
    pub max_event_channels: Option<u32>,
    /// See above.
    pub max_grant_frames: Option<u32>,
    /// See above.
    pub max_maptrack_frames: Option<u32>,
    /// Remarks that are no errors: options without effect here, unknown ones.
    pub warnings: Vec<Error>,
}

/// The largest number of vCPUs (Xen's HVM_MAX_VCPUS).
const MAX_VCPUS: u32 = 128;

/// The largest `memory` in MiB: 16 TiB, Xen's limit for a domain.
const MAX_MEMORY: u64 = 16 << 20;

impl DomainConfig {
    /// Reads a configuration file; `file` is its name for messages.
    ///
    /// # Errors
    /// The first mistake of syntax, or else every value that is wrong.
    pub fn parse(file: &str, text: &[u8]) -> Result<DomainConfig, Vec<Error>> {
        let settings = syntax::parse(text).map_err(|(position, reason)| {
            vec![Error {
                file: file.to_string(),
                position,
                reason,
            }]
        })?;
        let mut settings = Settings::new(file, &settings);
        let config = DomainConfig::read(file, &mut settings);
        if settings.errors.is_empty() {
            Ok(config)
        } else {
            Err(settings.errors)
        }
    }

    fn read(file: &str, settings: &mut Settings<'_>) -> DomainConfig {
        let vcpus = settings.number32("vcpus", 1, MAX_VCPUS).unwrap_or(1);
        let memory = settings.number("memory", 1, MAX_MEMORY);
        let mut config = DomainConfig {
            name: read_name(settings),
            domain_type: read_type(settings),
            uuid: read_parsed(settings, "uuid", "a UUID", Uuid::parse),
            memory,
            maxmem: settings.number("maxmem", 1, MAX_MEMORY).or(memory),
            vcpus,
            maxvcpus: settings.number32("maxvcpus", 1, MAX_VCPUS).unwrap_or(vcpus),
            cpus: read_affinity(settings),
            cpu_weight: settings.number32("cpu_weight", 1, 65535).unwrap_or(256),
            cap: settings.number32("cap", 0, 100 * MAX_VCPUS).unwrap_or(0),
            kernel: settings.text("kernel"),
            ramdisk: settings.text("ramdisk"),
            cmdline: String::new(),
            bootloader: settings.text("bootloader"),
            bootloader_args: settings.texts("bootloader_args"),
            firmware: settings.text("firmware"),
            boot: settings.text("boot"),
            disks: settings.specs("disk", Disk::parse),
            vifs: settings.specs("vif", Vif::parse),
            pci: settings.texts("pci"),
            on_poweroff: read_action(settings, "on_poweroff").unwrap_or(Action::Destroy),
            on_reboot: read_action(settings, "on_reboot").unwrap_or(Action::Restart),
            on_crash: read_action(settings, "on_crash").unwrap_or(Action::Destroy),
            on_watchdog: read_action(settings, "on_watchdog").unwrap_or(Action::Destroy),
            on_soft_reset: read_action(settings, "on_soft_reset").unwrap_or(Action::SoftReset),
            vnc: settings.boolean("vnc"),
            vnclisten: settings.text("vnclisten"),
            vncdisplay: settings.number32("vncdisplay", 0, 65535 - 5900),
            vncunused: settings.boolean("vncunused"),
            vncpasswd: settings.text("vncpasswd"),
            keymap: settings.text("keymap"),
            serial: settings.texts("serial"),
            usbdevice: settings.texts("usbdevice"),
            localtime: settings.boolean("localtime"),
            max_event_channels: settings.number32("max_event_channels", 1, i32::MAX as u32),
            max_grant_frames: settings.number32("max_grant_frames", 1, i32::MAX as u32),
            max_maptrack_frames: settings.number32("max_maptrack_frames", 0, i32::MAX as u32),
            warnings: Vec::new(),
        };
        config.read_cmdline(file, settings);
        config.check(settings);
        for setting in settings.unused() {
            let reason = if WITHOUT_EFFECT.contains(&setting.key.as_str()) {
                format!(
                    "{}: ignored, because it has no effect in microhv",
                    setting.key
                )
            } else {
                format!(
                    "{}: ignored, because xl.cfg has no such option",
                    setting.key
                )
            };
            config.warnings.push(Error {
                file: file.to_string(),
                position: setting.position,
                reason,
            });
        }
        config
    }

    fn read_cmdline(&mut self, file: &str, settings: &mut Settings<'_>) {
        let (cmdline, root, extra) = (
            settings.text("cmdline"),
            settings.text("root"),
            settings.text("extra"),
        );
        let both = root.is_some() || extra.is_some();
        self.cmdline = match (cmdline, root, extra) {
            (Some(cmdline), _, _) => {
                if both && let Some(value) = settings.get("cmdline") {
                    let reason = "root and extra: ignored, because cmdline is given".to_string();
                    self.warnings.push(Error {
                        file: file.to_string(),
                        position: value.position,
                        reason,
                    });
                }
                cmdline
            }
            (None, Some(root), Some(extra)) => format!("root={root} {extra}"),
            (None, Some(root), None) => format!("root={root}"),
            (None, None, extra) => extra.unwrap_or_default(),
        };
    }

    /// What no single option can be blamed for alone.
    fn check(&mut self, settings: &mut Settings<'_>) {
        if self.maxvcpus < self.vcpus
            && let Some(value) = settings.get("maxvcpus")
        {
            settings.error(
                value.position,
                format!("maxvcpus: expected at least the {} of vcpus", self.vcpus),
            );
        }
        if let (Some(memory), Some(maxmem)) = (self.memory, self.maxmem)
            && maxmem < memory
            && let Some(value) = settings.get("maxmem")
        {
            settings.error(
                value.position,
                format!("maxmem: expected at least the {memory} of memory"),
            );
        }
        for (index, disk) in self.disks.iter().enumerate() {
            if self
                .disks
                .iter()
                .take(index)
                .any(|earlier| earlier.number == disk.number)
                && let Some(value) = settings.get("disk")
            {
                settings.error(
                    value.position,
                    format!("disk: {} is given twice", quoted(&disk.vdev)),
                );
            }
        }
    }
}

/// Can a domain have this name? It becomes part of log file names and of xl's arguments, where digits alone would be an
/// id.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, '/' | ' ' | '"' | '\'');
    (1..=128).contains(&name.len())
        && !name.bytes().all(|b| b.is_ascii_digit())
        && !name.chars().any(bad)
}

fn read_name(settings: &mut Settings<'_>) -> String {
    let Some(name) = settings.text("name") else {
        if settings.get("name").is_none() {
            settings.error(
                Position { line: 1, column: 1 },
                "expected name=\"...\": every domain needs one",
            );
        }
        return String::new();
    };
    if !is_name(&name)
        && let Some(value) = settings.get("name")
    {
        let expected =
            "expected 1 to 128 characters, not only digits, without blanks, '/' and quotes";
        settings.error(
            value.position,
            format!("name: {expected}, found {}", quoted(&name)),
        );
    }
    name
}

fn read_type(settings: &mut Settings<'_>) -> Option<DomainType> {
    let kind = read_parsed(settings, "type", "pvh, hvm or pv", |text| match text {
        "pvh" => Some(DomainType::Pvh),
        "hvm" => Some(DomainType::Hvm),
        "pv" => Some(DomainType::Pv),
        _ => None,
    });
    let builder = read_parsed(settings, "builder", "hvm or generic", |text| match text {
        "hvm" => Some(DomainType::Hvm),
        "generic" => Some(DomainType::Pv),
        _ => None,
    });
    if kind.is_some()
        && builder.is_some()
        && kind != builder
        && let Some(value) = settings.get("builder")
    {
        settings.error(value.position, "builder: contradicts 'type'");
    }
    kind.or(builder)
}

fn read_parsed<T>(
    settings: &mut Settings<'_>,
    key: &str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = settings.text(key)?;
    let parsed = parse(&text);
    if parsed.is_none()
        && let Some(value) = settings.get(key)
    {
        settings.error(
            value.position,
            format!("{key}: expected {expected}, found {}", quoted(&text)),
        );
    }
    parsed
}

fn read_action(settings: &mut Settings<'_>, key: &str) -> Option<Action> {
    let expected = "destroy, restart, rename-restart, preserve, coredump-destroy, coredump-restart or soft-reset";
    read_parsed(settings, key, expected, Action::parse)
}

fn read_affinity(settings: &mut Settings<'_>) -> Option<Affinity> {
    let value = settings.get("cpus")?;
    let (values, list) = match &value.kind {
        Kind::List(values) => (values.as_slice(), true),
        _ => (core::slice::from_ref(value), false),
    };
    let mut lists = Vec::new();
    for value in values {
        let Some(text) = value.atom() else {
            settings.error(value.position, "cpus: expected a string, found a list");
            continue;
        };
        match CpuList::parse(Span::new(text)) {
            Ok(list) => lists.push(list),
            Err(part) => {
                let offset = usize::try_from(part.column.saturating_sub(1)).unwrap_or(0);
                let reason = format!("cpus: {}, found {}", cpu_list::EXPECTED, quoted(part.text));
                settings.error(value.inside(offset), reason);
            }
        }
    }
    if list {
        Some(Affinity::PerVcpu(lists))
    } else {
        lists.first().map(|list| Affinity::All(*list))
    }
}
