//! What a boot-time domain is built from, as loader.conf says.

use core::fmt::Write;

use config::LoaderConf;
use config::loader_conf::DomainConf;
use xen_abi::hvm::params::HVM_PARAM_STORE_EVTCHN;

use super::{Cite, Refused, XENSTORE};
use crate::boot::Orders;
use crate::domain::Domain;
use crate::mm::frames;
use crate::pci::Sbdf;
use crate::types::PAGE_SIZE;

/// Domain-0's memory in bytes when `dom0_mem` does not say.
const DEFAULT_DOM0_MEMORY: u64 = 64 << 20;
/// A service domain's memory in bytes when loader.conf does not say.
const DEFAULT_MEMORY: u64 = 16 << 20;
/// Devices that one domain can have.
const MAX_DEVICES: usize = 8;

/// A domain's command line.
pub type CommandLine = heapless::String<512>;
/// The path of an image in the boot archive.
type Path = heapless::String<128>;

/// What a boot-time domain is built from.
pub struct Plan<'a> {
    /// Its name.
    pub name: &'a str,
    /// The path of its image.
    pub kernel: Path,
    /// Its RAM in bytes.
    pub memory: u64,
    /// Its virtual CPUs.
    pub vcpus: u32,
    /// The CPUs on which they may run, a bit each.
    pub affinity: u64,
    /// Say each step (`dom0=verbose`).
    pub verbose: bool,
    /// Does it control others?
    pub privileged: bool,
    /// What it is told.
    pub command_line: CommandLine,
    /// The devices assigned to it.
    pub devices: heapless::Vec<Sbdf, MAX_DEVICES>,
    conf: LoaderConf<'a>,
}

impl<'a> Plan<'a> {
    /// Domain-0's.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn of_dom0(orders: &'a Orders) -> Result<Self, Refused> {
        let (conf, options) = (&orders.conf, &orders.options);
        let mut kernel = Path::new();
        match conf.console_kernel().map_err(|_| Refused)? {
            Some(path) => kernel.push_str(path.text),
            None => kernel.push_str("/boot/console"),
        }
        .map_err(|_| too_long("console_kernel"))?;
        let mut command_line = CommandLine::new();
        if conf.boot_verbose().unwrap_or(false) {
            command_line
                .push_str("boot_verbose ")
                .map_err(|_| too_long("console_cmdline"))?;
        }
        if let Some(more) = conf.console_cmdline() {
            write!(command_line, "{more}").map_err(|_| too_long("console_cmdline"))?;
        }
        let end = command_line.trim_end().len();
        command_line.truncate(end);
        let machine = frames::total_frames() * PAGE_SIZE as u64;
        Ok(Self {
            name: "Domain-0",
            kernel,
            memory: options
                .dom0_mem
                .map_or(DEFAULT_DOM0_MEMORY, |memory| memory.resolve(machine)),
            // Domain-0's kernel uses one vCPU, whatever dom0_max_vcpus allows.
            vcpus: 1,
            affinity: u64::MAX,
            verbose: options.dom0.verbose,
            privileged: true,
            command_line,
            devices: heapless::Vec::new(),
            conf: *conf,
        })
    }

    /// That of `domain` of loader.conf.
    ///
    /// # Errors
    /// A value cannot be used.
    pub fn of_domain(
        conf: &LoaderConf<'a>,
        domain: &DomainConf<'a>,
        dom0: &Domain,
    ) -> Result<Self, Refused> {
        if domain.errors().next().is_some() {
            return Err(Refused); // Named with the rest of loader.conf.
        }
        let name = domain.name.text;
        let mut kernel = Path::new();
        match domain.kernel().map_err(|_| Refused)? {
            Some(path) => kernel.push_str(path.text).map_err(|_| too_long(name)),
            None => write!(kernel, "/boot/{name}").map_err(|_| too_long(name)),
        }?;
        let mut devices = heapless::Vec::new();
        for device in domain.pptdevs() {
            let device = device.map_err(|_| Refused)?;
            let sbdf = Sbdf::new(device.bus, device.slot, device.function);
            if devices.push(sbdf).is_err() {
                log::error!("domain {name}: more than {MAX_DEVICES} devices");
                return Err(Refused);
            }
        }
        Ok(Self {
            name,
            kernel,
            memory: domain
                .memory()
                .map_err(|_| Refused)?
                .unwrap_or(DEFAULT_MEMORY),
            vcpus: domain.vcpus().map_err(|_| Refused)?.unwrap_or(1),
            affinity: domain
                .cpus()
                .map_err(|_| Refused)?
                .map_or(u64::MAX, |cpus| cpus.words()[0]),
            verbose: false,
            privileged: false,
            command_line: command_line(conf, domain, dom0).map_err(|_| too_long(name))?,
            devices,
            conf: *conf,
        })
    }

    /// For a message about the setting `<name><suffix>`.
    pub fn cite(&self, suffix: &'static str) -> Cite<'_> {
        let domain = if self.privileged {
            "console"
        } else {
            self.name
        };
        let mut key = heapless::String::<64>::new();
        let key = write!(key, "{domain}{suffix}").map(|()| key);
        Cite {
            suffix,
            domain,
            value: key.ok().and_then(|key| self.conf.get(&key)),
        }
    }
}

/// Complains that something does not fit.
fn too_long(name: &str) -> Refused {
    log::error!("{name}: the image's path or the command line is too long");
    Refused
}

/// The command line: what the domain needs of the machine, then what the operator added.
fn command_line(
    conf: &LoaderConf<'_>,
    domain: &DomainConf<'_>,
    dom0: &Domain,
) -> Result<CommandLine, core::fmt::Error> {
    let mut line = CommandLine::new();
    if domain.name.text == XENSTORE {
        let port = dom0.params.get(HVM_PARAM_STORE_EVTCHN).unwrap_or(0);
        write!(line, "dom0_store_port={port} ")?;
    }
    if domain.name.text == "bridge" {
        for interface in conf.cloned_interfaces() {
            let mut setting = heapless::String::<64>::new();
            write!(setting, "ifconfig_{}", interface.text)?;
            if let Some(value) = conf.get(&setting) {
                write!(line, "{setting}=\"{value}\" ")?;
            }
        }
    }
    if let Some(more) = domain.cmdline() {
        write!(line, "{more}")?;
    }
    let end = line.trim_end().len();
    line.truncate(end);
    Ok(line)
}
