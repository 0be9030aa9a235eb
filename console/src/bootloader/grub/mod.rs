//! `grub.cfg`, as `grub-mkconfig` writes it and people change it: variables, `if`, `menuentry`, `submenu`. Loops and functions
//! are passed over, so each word of the file is looked at at most three times.

mod condition;
mod words;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::entry::{BootEntry, Choice, Menu};
use super::{ENTRIES_MAX, Files, TITLE_MAX, VALUE_MAX, cmdline, cut, initrds};
use words::{Script, Token, Variables};

/// Blocks in blocks.
const DEPTH_MAX: usize = 16;
/// Variables.
const VARIABLES_MAX: usize = 256;
/// Bytes of all variables and their names: every submenu keeps a copy.
const VARIABLES_SIZE: usize = 16 * VALUE_MAX;
/// Bytes of a command with all that is put into it.
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
        script: Script(text),
        variables: Variables::new(),
        size: 0,
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
        reader.set(name, value);
    }
    // What closes nothing is passed over.
    while reader.script.peek().is_some() {
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
    script: Script<'a>,
    variables: Variables,
    /// Bytes of all variables with their names.
    size: usize,
    environment: &'a [(String, String)],
    files: &'a dyn Files,
    grub: Grub,
    inside: Vec<(String, String)>,
    current: Option<BootEntry>,
}

impl Reader<'_> {
    /// Sets a variable, if there is room for it.
    fn set(&mut self, name: &str, value: &str) {
        let before = self.variables.get(name);
        let freed = before.map_or(0, |before| name.len() + before.len());
        let size = self.size - freed + name.len() + value.len();
        if size <= VARIABLES_SIZE && (before.is_some() || self.variables.len() < VARIABLES_MAX) {
            self.variables.insert(name.to_string(), value.to_string());
            self.size = size;
        }
    }

    /// The words of the next command with variables put in; unquoted ones that come to nothing are not there.
    fn command(&mut self) -> Vec<String> {
        let mut room = COMMAND_MAX;
        let mut words = Vec::new();
        while self.script.peek() == Some(Token::Word) {
            let mut word = self.script.word(&self.variables);
            word.text.truncate(word.text.floor_char_boundary(room));
            room = room.saturating_sub(word.text.len() + 1);
            if room > 0 && (!word.text.is_empty() || word.quoted) {
                words.push(word.text);
            }
        }
        words
    }

    /// Leaves out what is left of a command.
    fn pass_command(&mut self) {
        while self.script.peek() == Some(Token::Word) {
            self.script.word(&self.variables);
        }
    }

    /// Goes through commands, with effect if `active`, to the end of the block.
    fn block(&mut self, active: bool, depth: usize) -> End {
        if depth > DEPTH_MAX {
            self.script = Script("");
        }
        while let Some(token) = self.script.peek() {
            let begin = self.script;
            match token {
                Token::End | Token::Open => self.script.pass(),
                Token::Close => {
                    self.script.pass();
                    return End::Close;
                }
                Token::Word => match self.script.word(&self.variables).keyword().unwrap_or("") {
                    "fi" => {
                        self.pass_command();
                        return End::Fi;
                    }
                    "done" => {
                        self.pass_command();
                        return End::Done;
                    }
                    // What is behind these is a command of its own.
                    "else" => return End::Else,
                    "elif" => return End::Elif,
                    "then" | "do" => {}
                    "if" => self.branches(active, depth),
                    "for" | "while" | "until" => {
                        self.pass_command();
                        while !matches!(self.block(false, depth + 1), End::Done | End::Text) {}
                    }
                    "function" => {
                        self.pass_command();
                        self.open();
                        self.until_closed(false, depth);
                    }
                    "menuentry" => self.entry(false, active, depth),
                    "submenu" => self.entry(true, active, depth),
                    _ if active => {
                        self.script = begin;
                        self.run();
                    }
                    _ => self.pass_command(),
                },
            }
        }
        End::Text
    }

    /// `if`, from its condition to its `fi`.
    fn branches(&mut self, active: bool, depth: usize) {
        let mut taken = !active;
        loop {
            let now = self.condition(!taken);
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

    /// Whether what is between `if` and `then` holds: the last command of it. It is asked only if it matters.
    fn condition(&mut self, matters: bool) -> bool {
        let mut holds = false;
        while let Some(token) = self.script.peek() {
            if token != Token::Word {
                self.script.pass();
                continue;
            }
            let begin = self.script;
            if self.script.word(&self.variables).keyword() == Some("then") {
                break;
            }
            self.script = begin;
            let words = self.command();
            holds = matters && condition::holds(&words, self.files);
        }
        holds
    }

    fn open(&mut self) {
        if self.script.peek() == Some(Token::Open) {
            self.script.pass();
        }
    }

    fn until_closed(&mut self, active: bool, depth: usize) {
        while !matches!(self.block(active, depth + 1), End::Close | End::Text) {}
    }

    /// `menuentry TITLE [options] { ... }`, or a submenu of such.
    fn entry(&mut self, is_menu: bool, active: bool, depth: usize) {
        let words = self.command();
        self.open();
        let full = self.grub.menu.entries.len() >= ENTRIES_MAX;
        if !active || full || self.current.is_some() {
            return self.until_closed(false, depth);
        }
        let (mut title, mut id) = (String::new(), String::new());
        let mut words = words.into_iter();
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
        let (title, id) = (cut(&title, TITLE_MAX), cut(&id, TITLE_MAX));
        let saved = (self.variables.clone(), self.size);
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
        (self.variables, self.size) = saved;
    }

    /// One command that has an effect.
    fn run(&mut self) {
        let words = self.command();
        let Some((command, arguments)) = words.split_first() else {
            return;
        };
        match command.as_str() {
            "set" => {
                if let Some((name, value)) = arguments.first().and_then(|word| word.split_once('='))
                {
                    self.set(name, value);
                }
            }
            "load_env" => {
                for (name, value) in self.environment {
                    self.set(name, value);
                }
            }
            "blscfg" => self.grub.bls = true,
            "linux" | "linux16" | "linuxefi" => {
                if let (Some(entry), Some((path, rest))) =
                    (&mut self.current, arguments.split_first())
                {
                    entry.kernel.clone_from(path);
                    entry.cmdline = cmdline(&rest.join(" "));
                }
            }
            "initrd" | "initrd16" | "initrdefi" => {
                if let Some(entry) = &mut self.current {
                    entry.initrds = initrds(arguments.iter().map(String::as_str));
                }
            }
            _ => {
                if let Some((name, value)) = command.split_once('=') {
                    self.set(name, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
