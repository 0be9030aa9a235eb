//! Command-line options, as getopt_long reads them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Options of one subcommand: letters (a colon behind one that takes a value) and long names.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// As in getopt.
    pub letters: &'static str,
    /// Long names and the letters that they stand for.
    pub long: &'static [(&'static str, char)],
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Letters with their values (empty without one).
    pub options: Vec<(char, String)>,
    /// Everything else.
    pub arguments: Vec<String>,
}

impl Given {
    /// Whether `letter` was given.
    #[must_use]
    pub fn has(&self, letter: char) -> bool {
        self.options.iter().any(|(given, _)| *given == letter)
    }

    /// Value of `letter`.
    #[must_use]
    pub fn value(&self, letter: char) -> Option<&str> {
        self.options
            .iter()
            .find(|(given, _)| *given == letter)
            .map(|(_, value)| value.as_str())
    }
}

/// Splits `words`. `-h` and `--help` are always known.
///
/// # Errors
/// The option that is not known or lacks its value.
pub fn parse(words: &[String], known: Known) -> Result<Given, String> {
    let mut given = Given::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            given.arguments.extend(words.by_ref().cloned());
        } else if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').unwrap_or((long, ""));
            let letter = known
                .long
                .iter()
                .chain(&[("help", 'h')])
                .find(|(long, _)| *long == name);
            let Some(&(_, letter)) = letter else {
                return Err(word.clone());
            };
            let mut value = value.to_string();
            if takes_value(known, letter) && value.is_empty() {
                value = words.next().ok_or_else(|| word.clone())?.clone();
            }
            given.options.push((letter, value));
        } else if word.len() > 1 && word.starts_with('-') {
            let mut letters = word.chars().skip(1);
            while let Some(letter) = letters.next() {
                let unknown = letter == ':' || !known.letters.contains(letter);
                if unknown && letter != 'h' {
                    return Err(letter.to_string());
                }
                let mut value = String::new();
                if takes_value(known, letter) {
                    value = letters.by_ref().collect();
                    if value.is_empty() {
                        value = words.next().ok_or_else(|| letter.to_string())?.clone();
                    }
                }
                given.options.push((letter, value));
            }
        } else {
            given.arguments.push(word.clone());
        }
    }
    Ok(given)
}

fn takes_value(known: Known, letter: char) -> bool {
    let mut letters = known.letters.chars();
    letters.any(|known| known == letter) && letters.next() == Some(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = Known {
        letters: "cf:p",
        long: &[("defconfig", 'f'), ("paused", 'p')],
    };

    fn split(line: &str) -> Result<Given, String> {
        let words: Vec<String> = line.split_whitespace().map(ToString::to_string).collect();
        parse(&words, KNOWN)
    }

    #[test]
    fn options_and_arguments_in_any_order() {
        let given = split("a -cp b -f file --defconfig=other --paused -- -c").unwrap();
        assert_eq!(given.arguments, ["a", "b", "-c"]);
        assert!(given.has('c') && given.has('p') && !given.has('h'));
        assert_eq!(given.value('f'), Some("file"));
        assert_eq!(split("-ffile").unwrap().value('f'), Some("file"));
        assert!(split("--help").unwrap().has('h'));
    }

    #[test]
    fn unknown_or_incomplete_options() {
        assert_eq!(split("-x"), Err("x".to_string()));
        assert_eq!(split("--what"), Err("--what".to_string()));
        assert_eq!(split("-f"), Err("f".to_string()));
        assert_eq!(split("-:"), Err(":".to_string()));
    }
}
