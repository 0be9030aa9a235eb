//! What happens to a domain that stops.

use core::fmt;

/// `on_poweroff`, `on_reboot`, `on_crash`, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Destroy it.
    Destroy,
    /// Destroy it and create it again.
    Restart,
    /// Rename it and create it again.
    RenameRestart,
    /// Keep it for examination.
    Preserve,
    /// Write its memory to a file, then destroy it.
    CoredumpDestroy,
    /// Write its memory to a file, then create it again.
    CoredumpRestart,
    /// Reset its Xen interfaces and let it run on.
    SoftReset,
}

/// Every action and its name in xl.cfg(5).
pub const NAMES: [(&str, Action); 7] = [
    ("destroy", Action::Destroy),
    ("restart", Action::Restart),
    ("rename-restart", Action::RenameRestart),
    ("preserve", Action::Preserve),
    ("coredump-destroy", Action::CoredumpDestroy),
    ("coredump-restart", Action::CoredumpRestart),
    ("soft-reset", Action::SoftReset),
];

impl Action {
    /// The action of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Action> {
        NAMES
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, action)| *action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            NAMES
                .iter()
                .find(|(_, action)| action == self)
                .map_or("", |(name, _)| name),
        )
    }
}
