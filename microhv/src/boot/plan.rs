//! What loader.conf asks of the hypervisor, before anything is built.

use super::archive::Archive;
use super::info::BootError;
use config::xen_cmdline::XenCmdline;
use config::{LoaderConf, Severity};

/// The path of the configuration in the archive.
pub const LOADER_CONF: &str = "boot/loader.conf";
/// The path of the hypervisor's own symbols, for its reports of faults.
pub const SYMBOLS: &str = "boot/microhv.sym";
/// Memory that Domain-0 has if `dom0_mem` does not say, in bytes.
pub const DOM0_DEFAULT: u64 = 64 << 20;

/// Finds loader.conf.
///
/// # Errors
/// The archive does not have it.
pub fn loader_conf(archive: &Archive) -> Result<LoaderConf<'static>, BootError> {
    let file = archive.file(LOADER_CONF).ok_or(BootError::NO_LOADER_CONF)?;
    Ok(LoaderConf::new(file))
}

/// Logs everything there is to say about loader.conf.
pub fn report(conf: &LoaderConf<'_>) {
    conf.diagnostics(|diagnostic| match diagnostic.severity {
        Severity::Error => log::error!("{diagnostic}"),
        Severity::Warning => log::warn!("{diagnostic}"),
    });
}

/// The least memory with which Domain-0 is of any use, in bytes.
const DOM0_LEAST: u64 = 8 << 20;

/// The bytes that must be free for Domain-0, of which `free` are. Other domains that do not fit are left out one by one.
pub fn least_memory(options: &XenCmdline<'_>, free: u64) -> u64 {
    let asked = options.dom0_mem.map_or(DOM0_DEFAULT, |memory| {
        // What is asked for, not what it is cut down to: half a Domain-0 helps nobody.
        let size = memory.size.map(|amount| amount.resolve(free));
        let least = memory.min.map_or(0, |amount| amount.resolve(free));
        size.unwrap_or(memory.resolve(free)).max(least)
    });
    asked.max(DOM0_LEAST)
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::{archive, tar};
    use super::*;

    #[test]
    fn an_archive_without_configuration_is_refused() {
        let open = |bytes| archive(&[("", bytes)]).unwrap();
        let empty = open(tar(&[("boot/console", b"")]));
        assert_eq!(loader_conf(&empty).unwrap_err(), BootError::NO_LOADER_CONF);
        let good = open(tar(&[("boot/loader.conf", b"boot_verbose=\"YES\"\n")]));
        assert!(loader_conf(&good).unwrap().boot_verbose().unwrap());
    }

    #[test]
    fn domain_0_must_fit_whole() {
        let parse = |text| XenCmdline::parse(config::Span::new(text), |_| {});
        let fits = |text, free: u64| least_memory(&parse(text), free << 20) <= free << 20;
        assert!(fits("dom0_mem=64M", 65) && !fits("dom0_mem=64M", 62));
        assert!(!fits("", 63) && fits("", 64));
        assert!(fits("dom0_mem=25%", 64) && !fits("dom0_mem=25%", 6));
        assert!(!fits("dom0_mem=16M,min:80M", 64));
    }
}
