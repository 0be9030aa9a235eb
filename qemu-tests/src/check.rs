//! Checks that say what was seen when they fail.

use std::time::Instant;

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
    // "NAME (domain 6) has crashed: destroy", which Domain-0 says whenever it is so, has six words too.
    let number = |columns: &[&str]| columns.get(1)?.parse::<u16>().ok();
    match rows.into_iter().find(|columns| {
        columns.first() == Some(&name) && columns.len() == 6 && number(columns).is_some()
    }) {
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

    /// The machine must print a line with `text` at some time, even before what was waited for last; the line is returned.
    ///
    /// # Errors
    /// When it has not after [`HANG`].
    pub fn prints(&mut self, text: &str) -> Result<String> {
        self.prints_line(text, |line| line.contains(text))
    }

    /// The same for a line that `is_it` tells; `what` is for the message.
    ///
    /// # Errors
    /// See [`Self::prints`].
    pub fn prints_line(&mut self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
        // A line comes in pieces.
        let find = |said: &str| {
            let mut lines = said.split_inclusive('\n');
            let found = lines.find(|line| line.ends_with('\n') && is_it(line))?;
            Some(found.trim_end().to_owned())
        };
        self.wait_anywhere(&format!("line with \"{what}\""), HANG, find)
    }

    /// What the machine holds when it is quiet: a backend lets go of what it has of a guest some time after the guest has
    /// gone, and Domain-0 keeps the last, unfinished line of a guest's console a little longer than the guest.
    ///
    /// # Errors
    /// When it is not quiet after [`HANG`].
    pub fn holdings(&mut self) -> Result<String> {
        let deadline = Instant::now() + HANG;
        let mut last = String::new();
        loop {
            self.xl("sleep 1")?;
            let now = self.xl("xl debug-use")?;
            if now == last {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("what is held changes all the time:\n{last}{now}");
            }
            last = now;
        }
    }

    /// The machine must hold the same as `before` at last.
    ///
    /// # Errors
    /// When it does not after [`HANG`].
    pub fn holds(&mut self, before: &str) -> Result<()> {
        let deadline = Instant::now() + HANG;
        loop {
            let now = self.holdings()?;
            if now == before {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("something is left behind; before:\n{before}\nafter:\n{now}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_of_the_table() {
        let list = "tr (domain 6) has crashed: destroy\nName   ID   Mem VCPUs  State  Time(s)\n\
                    bridge  2    16     1     -b----       0.0\n";
        assert!(row(list, "tr").is_err());
        assert!(row(list, "Name").is_err());
        assert_eq!(row(list, "bridge").unwrap()[1..3], ["2", "16"]);
    }
}
