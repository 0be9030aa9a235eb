//! Splits a command line into words, as a shell does.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordsError {
    /// A quote that is not closed.
    OpenQuote(char),
    /// A backslash at the end of the line.
    OpenBackslash,
}

impl fmt::Display for WordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenQuote(quote) => write!(f, "unterminated quote {quote}"),
            Self::OpenBackslash => f.write_str("nothing behind the backslash"),
        }
    }
}

/// The words of `line`: separated by blanks, with `'…'`, `"…"` and `\x`; `#` at the start of a word
/// begins a comment; `$?` outside single quotes is `status`.
///
/// # Errors
/// When a quote is not closed.
pub fn words(line: &str, status: i32) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None | Some('"'), '\\') => {
                let next = letters.next().ok_or(WordsError::OpenBackslash)?;
                word.get_or_insert_default().push(next);
            }
            (None | Some('"'), '$') if letters.peek() == Some(&'?') => {
                letters.next();
                word.get_or_insert_default().push_str(&status.to_string());
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(open) = quote {
        return Err(WordsError::OpenQuote(open));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        words(line, 7).unwrap()
    }

    #[test]
    fn blanks_quotes_and_comments() {
        assert_eq!(split("  xl\tlist  "), ["xl", "list"]);
        assert_eq!(
            split("echo 'a b' \"c d\"e f\\ g ''"),
            ["echo", "a b", "c de", "f g", ""]
        );
        assert_eq!(split("# nothing"), [""; 0]);
        assert_eq!(split("xl list # all a#b"), ["xl", "list"]);
        assert_eq!(split("echo a#b"), ["echo", "a#b"]);
        assert_eq!(
            split("echo $? \"$?\" '$?' $x"),
            ["echo", "7", "7", "$?", "$x"]
        );
    }

    #[test]
    fn what_is_open_is_an_error() {
        assert_eq!(words("echo 'a", 0), Err(WordsError::OpenQuote('\'')));
        assert_eq!(words("echo \"a", 0), Err(WordsError::OpenQuote('"')));
        assert_eq!(words("echo a\\", 0), Err(WordsError::OpenBackslash));
    }
}
