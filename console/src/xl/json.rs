//! JSON as xl prints it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A value. It prints over several lines with four blanks a level, as yajl does for xl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    /// A number without sign.
    Number(u64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of its members.
    Map(Vec<(&'static str, Json)>),
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, 0)
    }
}

impl Json {
    fn print(&self, f: &mut fmt::Formatter<'_>, level: usize) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => quoted(f, text),
            Self::List(values) if values.is_empty() => f.write_str("[]"),
            Self::Map(members) if members.is_empty() => f.write_str("{}"),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    line(f, index > 0, level + 1)?;
                    value.print(f, level + 1)?;
                }
                line(f, false, level)?;
                f.write_str("]")
            }
            Self::Map(members) => {
                f.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    line(f, index > 0, level + 1)?;
                    quoted(f, name)?;
                    f.write_str(": ")?;
                    value.print(f, level + 1)?;
                }
                line(f, false, level)?;
                f.write_str("}")
            }
        }
    }
}

/// A new line at `level`, behind a comma if `more`.
fn line(f: &mut fmt::Formatter<'_>, more: bool, level: usize) -> fmt::Result {
    let comma = if more { "," } else { "" };
    write!(f, "{comma}\n{:1$}", "", level * 4)
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    #[test]
    fn as_yajl_lays_it_out() {
        let json = Json::List(vec![Json::Map(vec![
            ("domid", 5_u32.into()),
            ("name", "a\"b\\c\n\u{1}".into()),
            ("type.pvh", Json::Map(Vec::new())),
            ("disks", Json::List(Vec::new())),
        ])]);
        assert_eq!(
            json.to_string(),
            "[\n    {\n        \"domid\": 5,\n        \"name\": \"a\\\"b\\\\c\\n\\u0001\",\n        \
             \"type.pvh\": {},\n        \"disks\": []\n    }\n]"
        );
    }
}
