//! What a boot-time domain is built from, as loader.conf says.

use core::fmt::{Display, Write};

use config::LoaderConf;
use config::loader_conf::{DomainConf, Value};
use xen_abi::hvm::params::HVM_PARAM_STORE_EVTCHN;

use super::{Cite, Refused, XENSTORE};
use crate::boot::Orders;
use crate::boot::plan::DOM0_DEFAULT;
use crate::domain::Domain;
use crate::mm::frames;
use crate::pci::Sbdf;
use crate::types::PAGE_SIZE;

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
        let kernel = conf.console_kernel()?;
        let kernel = kernel.map_or("/boot/console", |path| path.text);
        let needs = if conf.boot_verbose().unwrap_or(false) {
            "boot_verbose "
        } else {
            ""
        };
        let machine = frames::total_frames() * PAGE_SIZE as u64;
        Ok(Self {
            name: "Domain-0",
            kernel: Path::try_from(kernel).map_err(|_| too_long("console_kernel"))?,
            memory: options
                .dom0_mem
                .map_or(DOM0_DEFAULT, |memory| memory.resolve(machine)),
            // Domain-0's kernel uses one vCPU, whatever dom0_max_vcpus allows.
            vcpus: 1,
            affinity: u64::MAX,
            verbose: options.dom0.verbose,
            privileged: true,
            command_line: command_line("console_cmdline", needs, conf.console_cmdline())?,
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
        match domain.kernel()? {
            Some(path) => kernel.push_str(path.text).map_err(|_| too_long(name)),
            None => write!(kernel, "/boot/{name}").map_err(|_| too_long(name)),
        }?;
        let mut devices = heapless::Vec::new();
        for device in domain.pptdevs() {
            let device = device?;
            let sbdf = Sbdf::new(device.bus, device.slot, device.function);
            if devices.push(sbdf).is_err() {
                log::error!("domain {name}: more than {MAX_DEVICES} devices");
                return Err(Refused);
            }
        }
        let needs = needs(conf, name, dom0).map_err(|_| too_long(name))?;
        Ok(Self {
            name,
            kernel,
            memory: domain.memory()?.unwrap_or(DEFAULT_MEMORY),
            vcpus: domain.vcpus()?.unwrap_or(1),
            affinity: domain.cpus()?.map_or(u64::MAX, |cpus| cpus.words()[0]),
            verbose: false,
            privileged: false,
            command_line: command_line(name, &needs, domain.cmdline())?,
            devices,
            conf: *conf,
        })
    }

    /// Complains about the setting `<name><suffix>`.
    pub fn refuse(&self, suffix: &'static str, why: impl Display) -> Refused {
        log::error!("{}: {why}", self.cite(suffix));
        Refused
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

/// What the domain needs to know of the machine, for its command line.
fn needs(
    conf: &LoaderConf<'_>,
    name: &str,
    dom0: &Domain,
) -> Result<CommandLine, core::fmt::Error> {
    let mut line = CommandLine::new();
    if name == XENSTORE {
        let port = dom0.params.get(HVM_PARAM_STORE_EVTCHN).unwrap_or(0);
        write!(line, "dom0_store_port={port} ")?;
    }
    if name == "bridge" {
        for interface in conf.cloned_interfaces() {
            let mut setting = heapless::String::<64>::new();
            write!(setting, "ifconfig_{}", interface.text)?;
            if let Some(value) = conf.get(&setting) {
                write!(line, "{setting}=\"{value}\" ")?;
            }
        }
    }
    Ok(line)
}

/// The command line: what the domain needs, then what the operator added.
fn command_line(name: &str, needs: &str, more: Option<Value<'_>>) -> Result<CommandLine, Refused> {
    let mut line = CommandLine::new();
    line.push_str(needs)
        .map_err(|_| core::fmt::Error)
        .and_then(|()| more.map_or(Ok(()), |more| write!(line, "{more}")))
        .map_err(|_| too_long(name))?;
    line.truncate(line.trim_end().len());
    Ok(line)
}
