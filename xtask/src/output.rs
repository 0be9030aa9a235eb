//! Progress lines, in the style of cargo's own.

use std::io::IsTerminal;

/// Says on standard error that `verb` is being done to `what`.
pub fn step(verb: &str, what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[1;32m{verb:>12}\x1b[0m {what}");
    } else {
        eprintln!("{verb:>12} {what}");
    }
}
