//! `grub.cfg`, as `grub-mkconfig` writes it and people change it: variables, `if`, `menuentry`, `submenu`. Loops and functions
//! are passed over, so each word of the file is looked at once.

mod condition;
mod words;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::entry::{BootEntry, Choice, Menu};
use super::{ENTRIES_MAX, Files, VALUE_MAX};
use words::{Token, Word, tokens};

/// Blocks in blocks.
const DEPTH_MAX: usize = 16;
/// Variables.
const VARIABLES_MAX: usize = 256;
/// Characters of a command with all that is put into it.
const COMMAND_MAX: usize = 16 * VALUE_MAX;

/// What a `grub.cfg` says.
#[derive(Debug, Default)]
pub struct Grub {
    /// Its menu.
    pub menu: Menu,
    /// `blscfg`: the entries are files of their own.
    pub bls: bool,
}

/// Reads the text of a file in `folder` with GRUB's environment block, where `save_env` has put things.
pub fn parse(
    text: &str,
    folder: &str,
    environment: &[(String, String)],
    files: &dyn Files,
) -> Grub {
    let mut reader = Reader {
        tokens: tokens(text),
        at: 0,
        variables: BTreeMap::new(),
        environment,
        files,
        grub: Grub::default(),
        inside: Vec::new(),
        current: None,
    };
    for (name, value) in [
        ("prefix", folder),
        ("feature_menuentry_id", "y"),
        ("feature_default_font_path", "y"),
        ("grub_platform", "xen"),
        ("grub_cpu", "x86_64"),
    ] {
        reader.set(name, value.to_string());
    }
    // What closes nothing is passed over.
    while reader.at < reader.tokens.len() {
        reader.block(true, 0);
    }
    let default = reader.variables.get("default");
    if let Some(default) = default.filter(|default| !default.is_empty()) {
        reader.grub.menu.default = Choice::Named(default.clone());
    }
    reader.grub
}

/// Variables of an environment block (`grubenv`).
pub fn environment(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .take(VARIABLES_MAX)
        .collect()
}

/// What ended a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Else,
    Elif,
    Fi,
    Done,
    Text,
}

struct Reader<'a> {
    tokens: Vec<Token>,
    at: usize,
    variables: BTreeMap<String, String>,
    environment: &'a [(String, String)],
    files: &'a dyn Files,
    grub: Grub,
    inside: Vec<(String, String)>,
    current: Option<BootEntry>,
}

impl Reader<'_> {
    fn set(&mut self, name: &str, value: String) {
        if self.variables.len() < VARIABLES_MAX || self.variables.contains_key(name) {
            self.variables.insert(name.to_string(), value);
        }
    }

    /// The words of the next command as they stand, up to what ends it.
    fn command(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.get_mut(self.at) {
            words.push(core::mem::take(word));
            self.at += 1;
        }
        words
    }

    /// The words with variables put in; unquoted ones that come to nothing are not there.
    fn expand(&self, words: &[Word]) -> Vec<String> {
        let mut room = COMMAND_MAX;
        let mut expanded = Vec::new();
        for word in words {
            let value = word.expand(&self.variables, VALUE_MAX.min(room));
            room = room.saturating_sub(value.len() + 1);
            if room == 0 {
                break;
            }
            if !value.is_empty() || word.is_quoted() {
                expanded.push(value);
            }
        }
        expanded
    }

    /// Goes through commands, with effect if `active`, to the end of the block.
    fn block(&mut self, active: bool, depth: usize) -> End {
        if depth > DEPTH_MAX {
            self.at = self.tokens.len();
        }
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::End | Token::Open => self.at += 1,
                Token::Close => {
                    self.at += 1;
                    return End::Close;
                }
                Token::Word(_) => {
                    let words = self.command();
                    let first = words
                        .first()
                        .and_then(Word::plain)
                        .unwrap_or_default()
                        .to_string();
                    match first.as_str() {
                        "fi" => return End::Fi,
                        "else" | "elif" => {
                            // The rest of the line is a command of its own.
                            self.put_back(words);
                            return if first == "else" {
                                End::Else
                            } else {
                                End::Elif
                            };
                        }
                        "done" => return End::Done,
                        "then" | "do" => self.put_back(words),
                        "if" => {
                            self.put_back(words);
                            self.branches(active, depth);
                        }
                        "for" | "while" | "until" => {
                            while !matches!(self.block(false, depth + 1), End::Done | End::Text) {}
                        }
                        "function" => {
                            self.open();
                            self.until_closed(false, depth);
                        }
                        "menuentry" | "submenu" => self.entry(&words, active, depth),
                        _ if active => self.run(&words),
                        _ => {}
                    }
                }
            }
        }
        End::Text
    }

    /// Lets what is behind a command's first word be the next command.
    fn put_back(&mut self, words: Vec<Word>) {
        let count = words.len();
        self.at -= count;
        for (token, word) in self.tokens.iter_mut().skip(self.at).zip(words) {
            *token = Token::Word(word);
        }
        if let Some(token) = self.tokens.get_mut(self.at) {
            *token = Token::End;
        }
    }

    /// `if`, from its condition to its `fi`.
    fn branches(&mut self, active: bool, depth: usize) {
        let mut taken = !active;
        loop {
            let holds = self.condition();
            let now = holds && !taken;
            taken |= now;
            let mut end = self.block(now, depth + 1);
            if end == End::Else {
                end = self.block(!taken, depth + 1);
            }
            if end != End::Elif {
                return;
            }
        }
    }

    /// Whether what is between `if` and `then` holds: the last command of it.
    fn condition(&mut self) -> bool {
        let mut holds = false;
        while let Some(token) = self.tokens.get(self.at) {
            if !matches!(token, Token::Word(_)) {
                self.at += 1;
                continue;
            }
            let words = self.command();
            if words.first().and_then(Word::plain) == Some("then") {
                self.put_back(words);
                break;
            }
            let words = self.expand(&words);
            holds = condition::holds(&words, self.files);
        }
        holds
    }

    fn open(&mut self) {
        if matches!(self.tokens.get(self.at), Some(Token::Open)) {
            self.at += 1;
        }
    }

    fn until_closed(&mut self, active: bool, depth: usize) {
        while !matches!(self.block(active, depth + 1), End::Close | End::Text) {}
    }

    /// `menuentry TITLE [options] { ... }`, or a submenu of such.
    fn entry(&mut self, words: &[Word], active: bool, depth: usize) {
        let is_menu = words.first().and_then(Word::plain) == Some("submenu");
        let words = self.expand(words);
        self.open();
        let full = self.grub.menu.entries.len() >= ENTRIES_MAX;
        if !active || full || self.current.is_some() {
            return self.until_closed(false, depth);
        }
        let (mut title, mut id) = (String::new(), String::new());
        let mut words = words.into_iter().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--id" => id = words.next().unwrap_or_default(),
                "--class" | "--users" | "--hotkey" | "--source" => drop(words.next()),
                _ => match word.strip_prefix("--id=") {
                    Some(name) => id = name.to_string(),
                    None if word.starts_with("--") => {}
                    None if title.is_empty() => title = word,
                    None => {}
                },
            }
        }
        let saved = self.variables.clone();
        if is_menu {
            self.inside.push((title, id));
            self.until_closed(true, depth);
            self.inside.pop();
        } else {
            self.current = Some(BootEntry {
                title,
                id,
                inside: self.inside.clone(),
                ..BootEntry::default()
            });
            self.until_closed(true, depth);
            let entry = self.current.take();
            let bootable = entry.filter(|entry| !entry.kernel.is_empty());
            self.grub.menu.entries.extend(bootable);
        }
        self.variables = saved;
    }

    /// One command that has an effect.
    fn run(&mut self, words: &[Word]) {
        let words = self.expand(words);
        let Some((command, arguments)) = words.split_first() else {
            return;
        };
        match command.as_str() {
            "set" => {
                if let Some((name, value)) = arguments.first().and_then(|word| word.split_once('='))
                {
                    self.set(name, value.to_string());
                }
            }
            "load_env" => {
                for (name, value) in self.environment {
                    self.set(name, value.clone());
                }
            }
            "blscfg" => self.grub.bls = true,
            "linux" | "linux16" | "linuxefi" => {
                if let (Some(entry), Some((path, rest))) =
                    (&mut self.current, arguments.split_first())
                {
                    entry.kernel.clone_from(path);
                    entry.cmdline = rest.join(" ");
                }
            }
            "initrd" | "initrd16" | "initrdefi" => {
                if let Some(entry) = &mut self.current {
                    entry.initrds = arguments.to_vec();
                }
            }
            _ => {
                if let Some((name, value)) = command.split_once('=') {
                    self.set(name, value.to_string());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
