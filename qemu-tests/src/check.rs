//! Checks that say what was seen when they fail.

use anyhow::{Result, bail};

use crate::machine::prompt::Answer;
use crate::machine::qmp::End;
use crate::machine::serial::Running;
use crate::scenario::HANG;

/// `text` has each of `words`.
///
/// # Errors
/// When one is missing.
pub fn contains(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        if !text.contains(word) {
            bail!("\"{word}\" is not in:\n{text}");
        }
    }
    Ok(())
}

/// The columns of the line of `xl list` that is about `name`.
///
/// # Errors
/// When there is none.
pub fn row<'a>(list: &'a str, name: &str) -> Result<Vec<&'a str>> {
    let rows = list
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    match rows
        .into_iter()
        .find(|columns| columns.first() == Some(&name) && columns.len() == 6)
    {
        Some(columns) => Ok(columns),
        None => bail!("no domain {name} in:\n{list}"),
    }
}

impl Running {
    /// Types `line` at Domain-0's prompt; the command must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn xl(&mut self, line: &str) -> Result<String> {
        let Answer { code, text } = self.command(line, HANG)?;
        if code != 0 {
            bail!("\"{line}\" ended with {code}:\n{text}");
        }
        Ok(text)
    }

    /// Types `poweroff` at the prompt; the machine must switch itself off.
    ///
    /// # Errors
    /// When it does anything else.
    pub fn power_off(&mut self) -> Result<()> {
        self.send("poweroff\r")?;
        match self.wait_end(HANG)? {
            End::PoweredOff => Ok(()),
            other => bail!("the machine did not power off: {other:?}"),
        }
    }

    /// The machine must print `text` at some time, even before what was waited for last.
    ///
    /// # Errors
    /// When it has not after [`HANG`].
    pub fn prints(&mut self, text: &str) -> Result<()> {
        if self.transcript().contains(text) {
            return Ok(());
        }
        self.wait_for(text, HANG).map(drop)
    }
}
