//! Domain-0's own command line (`console_cmdline` in loader.conf).

/// What the command line asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `prompt_status`: the prompt is `[N]Domain-0# ` with the last exit code, for scripts.
    pub prompt_status: bool,
    /// `console_log=1`: guests' console output is shown too, as `(name) line`.
    pub console_log: bool,
    /// `boot_verbose` (loader.conf has it): the boot says each step.
    pub boot_verbose: bool,
    /// `noauto`: no guest is created at boot.
    pub no_auto: bool,
}

impl Options {
    /// Reads the words it knows.
    #[must_use]
    pub fn parse(cmdline: &str) -> Self {
        let mut options = Self::default();
        for word in cmdline.split_ascii_whitespace() {
            match word {
                "prompt_status" => options.prompt_status = true,
                "console_log=1" | "console_log" => options.console_log = true,
                "console_log=0" => options.console_log = false,
                "boot_verbose" => options.boot_verbose = true,
                "noauto" => options.no_auto = true,
                _ => {}
            }
        }
        options
    }
}
