//! What loader.conf asks of the hypervisor, before anything is built.

use super::archive::Archive;
use super::info::BootError;
use config::{LoaderConf, Severity};

/// The path of the configuration in the archive.
pub const LOADER_CONF: &str = "boot/loader.conf";
/// Memory that Domain-0 has if `dom0_mem` does not say, in bytes.
pub const DOM0_DEFAULT: u64 = 64 << 20;

/// Finds loader.conf.
///
/// # Errors
/// The archive does not have it.
pub fn loader_conf(archive: &Archive) -> Result<LoaderConf<'static>, BootError> {
    let file = archive.file(LOADER_CONF).ok_or(BootError::NoLoaderConf)?;
    Ok(LoaderConf::new(file))
}

/// Logs everything there is to say about loader.conf.
pub fn report(conf: &LoaderConf<'_>) {
    conf.diagnostics(|diagnostic| match diagnostic.severity {
        Severity::Error => log::error!("{diagnostic}"),
        Severity::Warning => log::warn!("{diagnostic}"),
    });
}

#[cfg(test)]
mod tests {
    use super::super::archive::tests::tar;
    use super::*;
    use crate::mm::ranges::Range;

    #[test]
    fn an_archive_without_configuration_is_refused() {
        let open = |bytes| Archive::new(Range::new(0, 0), bytes).unwrap();
        let empty = open(tar(&[("boot/console", b"")]));
        assert_eq!(loader_conf(&empty).unwrap_err(), BootError::NoLoaderConf);
        let good = open(tar(&[("boot/loader.conf", b"boot_verbose=\"YES\"\n")]));
        assert!(loader_conf(&good).unwrap().boot_verbose().unwrap());
    }
}
