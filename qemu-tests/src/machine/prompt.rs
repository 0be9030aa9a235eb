//! Domain-0's prompt: typing commands and reading their exit codes.

use std::time::Duration;

use anyhow::Result;

use super::serial::Running;

/// What a command at the prompt gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The command's exit code.
    pub code: u32,
    /// What it printed.
    pub text: String,
}

impl Running {
    /// Waits for the prompt that the machine shows when it is up.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub fn wait_prompt(&mut self, limit: Duration) -> Result<Answer> {
        self.wait("prompt of Domain-0", limit, find_prompt)
    }

    /// Types `line` at the prompt and waits for the next one. The prompt must have been seen before. The log's lines, which
    /// come whenever they come, are no part of the answer, unless they are what is asked for.
    ///
    /// # Errors
    /// When no prompt follows within `limit`.
    pub fn command(&mut self, line: &str, limit: Duration) -> Result<Answer> {
        self.send(&format!("{line}\r"))?;
        let mut answer = self.wait(
            &format!("end of the command \"{line}\""),
            limit,
            find_prompt,
        )?;
        if !line.starts_with("xl dmesg") {
            answer.text = without_log(&answer.text);
        }
        answer.text = without_echo(&answer.text, line);
        Ok(answer)
    }
}

/// What was said but for the log: `(XEN) [    0.123456] …` and `(d4) [    0.123456] …`.
pub fn without_log(said: &str) -> String {
    said.split_inclusive('\n')
        .filter(|line| !is_log(line))
        .collect()
}

fn is_log(line: &str) -> bool {
    let logged = line.strip_prefix('(').and_then(|rest| {
        let (who, rest) = rest.split_once(") [")?;
        let is_domain = |who: &str| {
            who.strip_prefix('d')
                .is_some_and(|id| id.parse::<u16>().is_ok())
        };
        Some((who == "XEN" || is_domain(who)) && rest.contains("] "))
    });
    logged == Some(true)
}

/// What was said but for the echo of `typed`. A line of the log may have come in the middle of the echo, which goes on in the
/// next line then; and Domain-0 may have said something before it, which stays.
fn without_echo(said: &str, typed: &str) -> String {
    let mut left = typed;
    let mut kept = String::new();
    for line in said.split_inclusive('\n') {
        match left.strip_prefix(line.trim_end_matches('\n')) {
            Some(rest) if !left.is_empty() => left = rest,
            _ => kept += line,
        }
    }
    if left.is_empty() {
        kept
    } else {
        said.to_owned()
    }
}

/// Finds `[N]Domain-0# `, which Domain-0 prints when `prompt_status` is on its command line: what came before it
/// is the last command's output and N its exit code.
fn find_prompt(said: &str) -> Option<(Answer, usize)> {
    const PROMPT: &str = "]Domain-0# ";
    let end = said.find(PROMPT)?;
    let open = said[..end].rfind('[')?;
    let code = said[open + 1..end].parse().ok()?;
    let text = said[..open].replace('\r', "");
    Some((Answer { code, text }, end + PROMPT.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_and_the_echo_are_no_answer() {
        let log = "(d4) [    0.723152] bridge: INFO bridge0: lease 10.0.2.15/24\n";
        for said in [
            "xl list\nName\ndebian\n".to_owned(),
            format!("xl list\nName\n{log}debian\n"),
            // The console begins a line for the log wherever it is.
            format!("{log}xl l\n{log}ist\n{log}Name\ndebian\n{log}"),
            format!("xl list\n{log}\nName\ndebian\n").replace("\n\n", "\n"),
        ] {
            assert_eq!(
                without_echo(&without_log(&said), "xl list"),
                "Name\ndebian\n",
                "{said}"
            );
        }
        let notice = "creating /etc/xen/auto/debian.cfg\nxl list\nName\nxl list\n";
        assert_eq!(
            without_echo(notice, "xl list"),
            "creating /etc/xen/auto/debian.cfg\nName\nxl list\n"
        );
        for said in ["    inet 10.0.2.21/24\n", "(dx) [1] a\n", "(d4) a\n", "\n"] {
            assert_eq!(without_log(said), said);
        }
    }

    #[test]
    fn a_prompt_carries_the_last_exit_code() {
        let (answer, length) = find_prompt("xl foo\r\nno such\r\n[2]Domain-0# rest").unwrap();
        assert_eq!(
            answer,
            Answer {
                code: 2,
                text: "xl foo\nno such\n".into()
            }
        );
        assert_eq!(length, "xl foo\r\nno such\r\n[2]Domain-0# ".len());
        assert_eq!(find_prompt("[0]Domain-0#"), None);
        assert_eq!(find_prompt("Domain-0# "), None);
    }
}
