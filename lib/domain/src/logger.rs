//! The `log` crate's backend: one record, one line `LEVEL module: text`, one `CONSOLEIO_write`. microhv adds the
//! time and the domain's name.

use log::{LevelFilter, Log, Metadata, Record};

struct ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // `log::max_level` has already decided.
        true
    }

    fn log(&self, record: &Record<'_>) {
        crate::console::write_line(format_args!(
            "{} {}: {}",
            record.level(),
            record.target(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

/// Installs the backend; `log=LEVEL` on the command line chooses the level, `info` without it.
pub(crate) fn init(cmdline: &str) {
    // A second call keeps the first logger: nothing to do about it.
    let _ = log::set_logger(&ConsoleLog);
    log::set_max_level(level(cmdline));
}

fn level(cmdline: &str) -> LevelFilter {
    crate::boot::argument_in(cmdline, "log")
        .and_then(|value| value.parse().ok())
        .unwrap_or(LevelFilter::Info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_comes_from_the_command_line() {
        assert_eq!(level(""), LevelFilter::Info);
        assert_eq!(level("a=b log=debug c"), LevelFilter::Debug);
        assert_eq!(level("log=what"), LevelFilter::Info);
    }
}
