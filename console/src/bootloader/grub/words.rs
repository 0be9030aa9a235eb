//! Words of GRUB's language, which are a shell's: quotes, variables, comments.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::iter::Peekable;
use core::str::Chars;

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// A word, with variables not yet put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    pieces: Vec<Piece>,
    quoted: bool,
}

impl Word {
    /// The word, if it is plain text without quotes: a keyword may be one.
    pub fn plain(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [Piece::Text(text)] if !self.quoted => Some(text),
            _ => None,
        }
    }

    pub fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// With variables put in, at most `limit` bytes of it.
    pub fn expand(&self, variables: &BTreeMap<String, String>, limit: usize) -> String {
        let mut value = String::new();
        for piece in &self.pieces {
            let text = match piece {
                Piece::Text(text) => text.as_str(),
                Piece::Variable(name) => variables.get(name).map_or("", String::as_str),
            };
            let room = text.floor_char_boundary(limit.saturating_sub(value.len()));
            value.push_str(text.get(..room).unwrap_or_default());
        }
        value
    }

    fn push(&mut self, c: char) {
        if let Some(Piece::Text(text)) = self.pieces.last_mut() {
            text.push(c);
        } else {
            self.pieces.push(Piece::Text(String::from(c)));
        }
    }
}

/// What a file consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Word(Word),
    /// The end of a command.
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// Takes a file apart. Any text comes to some tokens.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            '\n' | ';' | '&' | '|' => {
                chars.next();
                tokens.push(Token::End);
            }
            '{' | '}' => {
                chars.next();
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
            }
            '#' => while chars.next_if(|&c| c != '\n').is_some() {},
            _ if c.is_whitespace() => {
                chars.next();
            }
            '\\' if follows(&chars, '\n') => {
                chars.next();
                chars.next();
            }
            _ => tokens.push(Token::Word(word(&mut chars))),
        }
    }
    tokens
}

fn follows(chars: &Peekable<Chars<'_>>, wanted: char) -> bool {
    chars.clone().nth(1) == Some(wanted)
}

fn word(chars: &mut Peekable<Chars<'_>>) -> Word {
    let mut word = Word::default();
    while let Some(&c) = chars.peek() {
        match c {
            '\n' | ';' | '{' | '}' | '&' | '|' => break,
            _ if c.is_whitespace() => break,
            '\'' => {
                chars.next();
                word.quoted = true;
                while let Some(c) = chars.next_if(|&c| c != '\'') {
                    word.push(c);
                }
                chars.next();
            }
            '"' => {
                chars.next();
                word.quoted = true;
                double_quoted(chars, &mut word);
            }
            '\\' => {
                chars.next();
                match chars.next() {
                    Some('\n') | None => {}
                    Some(c) => word.push(c),
                }
            }
            '$' => variable(chars, &mut word),
            _ => {
                chars.next();
                word.push(c);
            }
        }
    }
    word
}

fn double_quoted(chars: &mut Peekable<Chars<'_>>, word: &mut Word) {
    while let Some(&c) = chars.peek() {
        match c {
            '"' => {
                chars.next();
                return;
            }
            '$' => variable(chars, word),
            '\\' => {
                chars.next();
                match chars.next() {
                    Some('\n') | None => {}
                    Some(c @ ('"' | '$' | '\\')) => word.push(c),
                    Some(c) => {
                        word.push('\\');
                        word.push(c);
                    }
                }
            }
            _ => {
                chars.next();
                word.push(c);
            }
        }
    }
}

/// `$name` or `${name}`; a `$` that begins neither is itself.
fn variable(chars: &mut Peekable<Chars<'_>>, word: &mut Word) {
    chars.next();
    let mut name = String::new();
    if chars.next_if_eq(&'{').is_some() {
        while let Some(c) = chars.next_if(|&c| c != '}' && c != '\n') {
            name.push(c);
        }
        chars.next_if_eq(&'}');
    } else {
        while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '?')) {
            name.push(c);
        }
        if name.is_empty() {
            return word.push('$');
        }
    }
    word.pieces.push(Piece::Variable(name));
}
