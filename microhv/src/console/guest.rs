//! What domains write to their emergency console (`CONSOLEIO_write`).

use super::{levels, print};
use crate::types::DomId;
use config::xen_cmdline::Level;
use heapless::Vec;
use spin::Mutex;

/// Domains whose unfinished lines are kept at a time.
const WRITERS: usize = 8;
/// Longest line; a longer one is broken.
const LINE: usize = 240;

struct Partial {
    domain: DomId,
    text: Vec<u8, LINE>,
}

static PARTIAL: Mutex<Vec<Partial, WRITERS>> = Mutex::new(Vec::new());

/// Prints what a domain has written, line by line: domain's number, time, the domain's name (if not
/// empty) and the text. An unfinished line waits for its end. Control characters are shown as dots,
/// so that no domain can imitate another's lines or command the operator's terminal.
pub fn guest_write(domain: DomId, name: &str, bytes: &[u8]) {
    let mut partial = PARTIAL.lock();
    let index = partial.iter().position(|line| line.domain == domain);
    let mut line = match index {
        Some(index) => partial.remove(index),
        None => Partial {
            domain,
            text: Vec::new(),
        },
    };
    for byte in bytes {
        match byte {
            b'\n' => emit(&mut line, name),
            b'\r' => {}
            _ => {
                let hidden = byte.is_ascii_control() && *byte != b'\t';
                if line.text.is_full() {
                    emit(&mut line, name);
                }
                let _ = line.text.push(if hidden { b'.' } else { *byte });
            }
        }
    }
    if line.text.is_empty() {
        return;
    }
    if partial.is_full() {
        // The one that has waited longest goes as it is: its domain may be gone. Its name is not kept.
        emit(&mut partial.remove(0), "");
    }
    let _ = partial.push(line);
}

fn emit(line: &mut Partial, name: &str) {
    if levels::guest(level(&line.text)) {
        let text = line.text.utf8_chunks();
        let separator = if name.is_empty() { "" } else { ": " };
        let lossy = Lossy(text);
        print(
            format_args!("{}", line.domain),
            format_args!("{name}{separator}{lossy}"),
        );
    }
    line.text.clear();
}

/// The level that a line names in its first word, as `lib/domain` writes it. Other guests say
/// nothing of levels: what they write is for developers, as in Xen.
fn level(text: &[u8]) -> Level {
    let word = text.split(|byte| *byte == b' ').next();
    match word {
        Some(b"ERROR") => Level::Error,
        Some(b"WARN") => Level::Warning,
        Some(b"INFO") => Level::Info,
        _ => Level::Debug,
    }
}

/// Text with what is not UTF-8 shown as question marks.
struct Lossy<'a>(core::str::Utf8Chunks<'a>);

impl core::fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for chunk in self.0.clone() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("?")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::xen_cmdline::LogLevel;

    #[test]
    fn lines_are_whole_clean_and_named() {
        // Who writes meanwhile may take the place of an unfinished line.
        let _alone = crate::domain::tests::alone();
        let all = LogLevel {
            always: Level::Debug,
            rate_limited: Level::Debug,
        };
        super::super::set_levels(all, all);
        guest_write(DomId(71), "one", b"he");
        guest_write(DomId(72), "", b"other\x1b[2J\n");
        guest_write(DomId(71), "one", b"llo\r\nrest\xff\n");
        let mut buf = vec![0; 65536];
        let count = super::super::ring::read_from(&mut 0, &mut buf);
        let text = String::from_utf8_lossy(&buf[..count]).into_owned();
        let of = |who: &str| -> Vec<String, 4> {
            let lines = text.lines().filter(|line| line.starts_with(who));
            lines
                .map(|line| line.split_once("] ").unwrap().1.into())
                .collect()
        };
        assert_eq!(of("(d71)"), ["one: hello", "one: rest?"]);
        assert_eq!(of("(d72)"), ["other.[2J"]);
    }

    #[test]
    fn domains_that_ended_within_a_line_leave_room_for_others() {
        let _alone = crate::domain::tests::alone();
        let all = LogLevel {
            always: Level::Debug,
            rate_limited: Level::Debug,
        };
        super::super::set_levels(all, all);
        for id in 500..500 + WRITERS as u16 {
            guest_write(DomId(id), "gone", b"half");
        }
        for byte in b"a whole line\n" {
            guest_write(DomId(600), "new", &[*byte]);
        }
        let mut buf = vec![0; 65536];
        let count = super::super::ring::read_from(&mut 0, &mut buf);
        let text = String::from_utf8_lossy(&buf[..count]).into_owned();
        assert!(text.contains("] new: a whole line\n"), "{text}");
    }

    #[test]
    fn levels_are_first_words() {
        assert_eq!(level(b"ERROR disk: gone"), Level::Error);
        assert_eq!(level(b"INFO"), Level::Info);
        assert_eq!(level(b"[    0.000000] Linux version 6.1"), Level::Debug);
    }

    use std::string::String;
}
