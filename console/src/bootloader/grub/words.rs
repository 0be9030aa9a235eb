//! Words of GRUB's language, which are a shell's: quotes, variables, comments.
//!
//! A script is taken apart where it is looked at, and never kept as words: those would be a hundred times its size.

use alloc::collections::BTreeMap;
use alloc::string::String;

use crate::bootloader::VALUE_MAX;

/// Variables by their names.
pub type Variables = BTreeMap<String, String>;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Word,
    /// The end of a command.
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// A word with its variables put in, at most [`VALUE_MAX`] bytes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// It has quotes: it is a word even if it is empty.
    pub quoted: bool,
    variables: bool,
}

impl Word {
    /// The word, if it is plain text without quotes: a keyword may be one.
    pub fn keyword(&self) -> Option<&str> {
        (!self.quoted && !self.variables).then_some(&self.text)
    }

    fn push(&mut self, c: char) {
        if self.text.len() + c.len_utf8() <= VALUE_MAX {
            self.text.push(c);
        }
    }

    fn push_value(&mut self, value: &str) {
        self.variables = true;
        let end = value.floor_char_boundary(VALUE_MAX - self.text.len());
        self.text += value.get(..end).unwrap_or_default();
    }
}

/// A script from some place on. A copy is a place to come back to.
#[derive(Clone, Copy)]
pub struct Script<'a>(pub &'a str);

impl Script<'_> {
    /// What comes next, if anything does; spaces and comments before it are passed.
    pub fn peek(&mut self) -> Option<Token> {
        loop {
            match self.next_char()? {
                '\n' | ';' | '&' | '|' => return Some(Token::End),
                '{' => return Some(Token::Open),
                '}' => return Some(Token::Close),
                '#' => while self.take_if(|c| c != '\n').is_some() {},
                c if c.is_whitespace() => self.pass(),
                '\\' if self.0.starts_with("\\\n") => {
                    self.pass();
                    self.pass();
                }
                _ => return Some(Token::Word),
            }
        }
    }

    /// Goes on behind a character: every token that is no word is one.
    pub fn pass(&mut self) {
        self.take_if(|_| true);
    }

    /// Takes the word that comes next; if none does, an empty one.
    pub fn word(&mut self, variables: &Variables) -> Word {
        let mut word = Word::default();
        while let Some(c) = self.next_char() {
            match c {
                '\n' | ';' | '{' | '}' | '&' | '|' => break,
                _ if c.is_whitespace() => break,
                '\'' => {
                    self.pass();
                    word.quoted = true;
                    while let Some(c) = self.take_if(|c| c != '\'') {
                        word.push(c);
                    }
                    self.pass();
                }
                '"' => {
                    self.pass();
                    word.quoted = true;
                    self.double_quoted(&mut word, variables);
                }
                '\\' => {
                    self.pass();
                    match self.take_if(|_| true) {
                        Some('\n') | None => {}
                        Some(c) => word.push(c),
                    }
                }
                '$' => self.variable(&mut word, variables),
                _ => {
                    self.pass();
                    word.push(c);
                }
            }
        }
        word
    }

    fn double_quoted(&mut self, word: &mut Word, variables: &Variables) {
        while let Some(c) = self.next_char() {
            if c == '$' {
                self.variable(word, variables);
                continue;
            }
            self.pass();
            match c {
                '"' => return,
                '\\' => match self.take_if(|_| true) {
                    Some('\n') | None => {}
                    Some(c @ ('"' | '$' | '\\')) => word.push(c),
                    Some(c) => {
                        word.push('\\');
                        word.push(c);
                    }
                },
                _ => word.push(c),
            }
        }
    }

    /// `$name` or `${name}`; a `$` that begins neither is itself.
    fn variable(&mut self, word: &mut Word, variables: &Variables) {
        self.pass();
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '?');
        let braces = self.take_if(|c| c == '{').is_some();
        let end = if braces {
            self.0.find(['}', '\n'])
        } else {
            self.0.find(|c| !is_name(c))
        };
        let (name, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest;
        if braces {
            self.take_if(|c| c == '}');
        } else if name.is_empty() {
            return word.push('$');
        }
        word.push_value(variables.get(name).map_or("", String::as_str));
    }

    fn next_char(&self) -> Option<char> {
        self.0.chars().next()
    }

    fn take_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let c = self.next_char().filter(|&c| wanted(c))?;
        self.0 = self.0.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }
}
