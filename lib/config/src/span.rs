//! A piece of a configuration file that remembers where it stands.

/// Borrowed text with the line and column of its first byte.
///
/// Lines and columns count from 1; columns count bytes, as compilers do for ASCII files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<'a> {
    /// The text.
    pub text: &'a str,
    /// Line of the first byte, from 1.
    pub line: u32,
    /// Column of the first byte, from 1.
    pub column: u32,
}

impl<'a> Span<'a> {
    /// Text that starts at line 1, column 1.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Span {
            text,
            line: 1,
            column: 1,
        }
    }

    /// `part`, a piece of this span on the same line, with its own column.
    ///
    /// A `part` that is no piece of this span gets this span's own position.
    #[must_use]
    pub fn at(&self, part: &'a str) -> Self {
        let start = self.text.as_ptr() as usize;
        let offset = (part.as_ptr() as usize)
            .checked_sub(start)
            .filter(|o| *o <= self.text.len())
            .unwrap_or(0);
        Span {
            text: part,
            line: self.line,
            column: self
                .column
                .saturating_add(u32::try_from(offset).unwrap_or(u32::MAX)),
        }
    }

    /// The empty span just behind this one.
    #[must_use]
    pub fn end(&self) -> Self {
        self.at(self.text.get(self.text.len()..).unwrap_or(""))
    }

    /// The pieces between `separator`s, each with its own column.
    pub fn split(self, separator: char) -> impl Iterator<Item = Span<'a>> + Clone {
        self.text.split(separator).map(move |part| self.at(part))
    }

    /// The words between blanks (spaces and tabs), each with its own column.
    pub fn words(self) -> impl Iterator<Item = Span<'a>> + Clone {
        self.text
            .split([' ', '\t'])
            .filter(|w| !w.is_empty())
            .map(move |word| self.at(word))
    }

    /// What stands before and behind the first `separator`.
    #[must_use]
    pub fn split_once(self, separator: char) -> Option<(Span<'a>, Span<'a>)> {
        let (left, right) = self.text.split_once(separator)?;
        Some((self.at(left), self.at(right)))
    }

    /// The span behind `prefix`, if it starts with it.
    #[must_use]
    pub fn strip_prefix(self, prefix: &str) -> Option<Span<'a>> {
        self.text.strip_prefix(prefix).map(|rest| self.at(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_know_their_column() {
        let span = Span {
            text: "ab  cd,ef",
            line: 7,
            column: 10,
        };
        let words: Vec<_> = span.words().map(|w| (w.text, w.line, w.column)).collect();
        assert_eq!(words, [("ab", 7, 10), ("cd,ef", 7, 14)]);
        let (left, right) = span.split_once(',').expect("has a comma");
        assert_eq!((left.column, right.column, right.text), (10, 17, "ef"));
        assert_eq!(span.end().column, 19);
        assert_eq!(span.strip_prefix("ab").map(|s| s.column), Some(12));
    }
}
