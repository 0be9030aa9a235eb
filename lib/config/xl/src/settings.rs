//! Typed access to a file's settings; collects what is wrong.

use crate::error::{Error, SpecError, quoted};
use crate::syntax::Setting;
use crate::value::{Kind, Position, Value};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// A file's settings while they are read.
#[derive(Debug)]
pub struct Settings<'a> {
    file: &'a str,
    settings: &'a [Setting],
    /// What is wrong so far.
    pub errors: Vec<Error>,
    used: Vec<bool>,
}

impl<'a> Settings<'a> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(file: &'a str, settings: &'a [Setting]) -> Self {
        Settings {
            file,
            settings,
            errors: Vec::new(),
            used: vec![false; settings.len()],
        }
    }

    /// Notes a mistake.
    pub fn error(&mut self, position: Position, reason: impl Into<String>) {
        self.errors.push(Error {
            file: self.file.to_string(),
            position,
            reason: reason.into(),
        });
    }

    /// The value of `key`; the last one wins, as in xl.
    pub fn get(&mut self, key: &str) -> Option<&'a Value> {
        for (setting, used) in self.settings.iter().zip(&mut self.used) {
            *used |= setting.key == key;
        }
        self.settings
            .iter()
            .rev()
            .find(|s| s.key == key)
            .map(|s| &s.value)
    }

    /// A string (or number, which xl takes for a string too).
    pub fn text(&mut self, key: &str) -> Option<String> {
        let value = self.get(key)?;
        let text = value.atom().map(ToString::to_string);
        if text.is_none() {
            self.error(
                value.position,
                format!("{key}: expected a string, found a list"),
            );
        }
        text
    }

    /// A number from `least` to `most`: decimal, octal with `0`, hexadecimal with `0x`.
    pub fn number(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let value = self.get(key)?;
        let number = value
            .atom()
            .and_then(config::number::whole)
            .filter(|n| (least..=most).contains(n));
        if number.is_none() {
            let found = value.atom().map_or_else(|| "a list".to_string(), quoted);
            self.error(
                value.position,
                format!("{key}: expected a number from {least} to {most}, found {found}"),
            );
        }
        number
    }

    /// [`Settings::number`] for 32-bit settings.
    pub fn number32(&mut self, key: &str, least: u32, most: u32) -> Option<u32> {
        self.number(key, least.into(), most.into())
            .and_then(|n| u32::try_from(n).ok())
    }

    /// 0 is false, any other number true.
    pub fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let number = value.atom().and_then(config::number::whole);
        if number.is_none() {
            let found = value.atom().map_or_else(|| "a list".to_string(), quoted);
            self.error(
                value.position,
                format!("{key}: expected 0 or 1, found {found}"),
            );
        }
        number.map(|n| n != 0)
    }

    /// One string or a list of strings.
    pub fn texts(&mut self, key: &str) -> Vec<String> {
        self.list(key, true)
            .into_iter()
            .filter_map(|v| v.atom().map(ToString::to_string))
            .collect()
    }

    /// A list of strings in a syntax of their own.
    pub fn specs<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, SpecError>) -> Vec<T> {
        let mut items = Vec::new();
        for value in self.list(key, false) {
            let Some(spec) = value.atom() else { continue };
            match parse(spec) {
                Ok(item) => items.push(item),
                Err(error) => self.error(
                    value.inside(error.offset),
                    format!("{key}: {}", error.reason),
                ),
            }
        }
        items
    }

    /// The strings of a list; anything else is a mistake.
    fn list(&mut self, key: &str, single: bool) -> Vec<&'a Value> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        match &value.kind {
            Kind::List(values) => {
                for value in values.iter().filter(|v| v.atom().is_none()) {
                    self.error(
                        value.position,
                        format!("{key}: expected a string, found a list"),
                    );
                }
                values.iter().filter(|v| v.atom().is_some()).collect()
            }
            _ if single => vec![value],
            Kind::Text(found) | Kind::Number(found) => {
                let found = quoted(found);
                self.error(
                    value.position,
                    format!("{key}: expected a list such as [ '...' ], found {found}"),
                );
                Vec::new()
            }
        }
    }

    /// The settings that nobody has asked for.
    pub fn unused(&self) -> impl Iterator<Item = &'a Setting> {
        self.settings
            .iter()
            .zip(&self.used)
            .filter(|(_, used)| !**used)
            .map(|(setting, _)| setting)
    }
}
