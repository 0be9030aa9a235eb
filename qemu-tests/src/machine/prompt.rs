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

    /// Types `line` at the prompt and waits for the next one. The prompt must have been seen before.
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
        // The first line is the echo of what was typed.
        answer.text = match answer.text.split_once('\n') {
            Some((first, rest)) if first.contains(line) => rest.to_owned(),
            _ => answer.text,
        };
        Ok(answer)
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
