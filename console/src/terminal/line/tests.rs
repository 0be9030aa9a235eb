//! Tests of the module beside.

use super::*;
use alloc::string::ToString;

/// A terminal that understands what the editor sends.
#[derive(Default)]
struct Screen {
    row: Vec<u8>,
    column: usize,
}

impl Screen {
    fn show(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            match byte {
                0x08 => self.column -= 1,
                BELL => {}
                0x1b => {
                    assert_eq!(&tail[..2], b"[K");
                    self.row.truncate(self.column);
                    rest = &tail[2..];
                }
                b'\r' => self.column = 0,
                b'\n' => self.row.clear(),
                _ => {
                    if self.column == self.row.len() {
                        self.row.push(0);
                    }
                    self.row[self.column] = byte;
                    self.column += 1;
                }
            }
        }
    }
}

/// Types `keys`; gives the lines entered and checks that the screen shows the line edited.
fn type_keys(keys: &str) -> Vec<String> {
    let mut editor = LineEditor::new();
    let mut screen = Screen::default();
    let mut lines = Vec::new();
    let names = ["list", "info", "create", "console"];
    for byte in keys.bytes() {
        let mut echo = Vec::new();
        let event = editor.input(byte, &mut echo, &mut |before| {
            let word = before.rsplit(' ').next().unwrap();
            let fits = names.iter().filter(|name| name.starts_with(word));
            fits.map(ToString::to_string).collect()
        });
        screen.show(&echo);
        match event {
            LineEvent::Line(line) => lines.push(line),
            LineEvent::Editing => {
                assert_eq!(screen.row, editor.line, "screen differs from line");
                assert_eq!(screen.column, editor.cursor);
            }
            _ => {}
        }
    }
    lines
}

#[test]
fn lines_end_with_return_line_feed_or_both() {
    assert_eq!(type_keys("a\rb\nc\r\nd\r\r"), ["a", "b", "c", "d", ""]);
}

#[test]
fn erasing() {
    assert_eq!(type_keys("\x7fab\x7f\x08c\r"), ["c"]);
    assert_eq!(type_keys("xl list\x15ls\r"), ["ls"]);
    assert_eq!(type_keys("xl list  \x17info\r"), ["xl info"]);
    assert_eq!(type_keys("xl list\x03\r"), [""]);
    assert_eq!(type_keys("\x1b[D\x1b[Dabc\x1b[D\x1b[D\x0b\r"), ["a"]);
}

#[test]
fn editing_in_the_middle() {
    assert_eq!(type_keys("lst\x1b[D\x1b[Di\r"), ["list"]);
    assert_eq!(type_keys("abc\x01X\x05Y\x1b[HZ\x1b[4~!\r"), ["ZXabcY!"]);
    assert_eq!(type_keys("abc\x1b[1~\x1b[3~\r"), ["bc"]);
    assert_eq!(type_keys("abc\x1b[D\x04\r"), ["ab"]);
}

#[test]
fn history_keeps_the_line_being_typed() {
    assert_eq!(
        type_keys("one\rtwo\rthr\x1b[A\x1b[A\x1b[A\r"),
        ["one", "two", "one"]
    );
    assert_eq!(
        type_keys("one\rthr\x1b[A\x1b[Bee\x1b[B\r"),
        ["one", "three"]
    );
}

#[test]
fn tab_completes_as_far_as_it_is_clear() {
    assert_eq!(type_keys("xl li\t\r"), ["xl list "]);
    assert_eq!(type_keys("xl c\to\t\r"), ["xl console "]);
    assert_eq!(type_keys("xl z\t\r"), ["xl z"]);
}

#[test]
fn no_bytes_break_it() {
    let mut seed = 1_u32;
    let mut editor = LineEditor::new();
    for _ in 0..200_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let mut echo = Vec::new();
        let byte = (seed >> 24) as u8;
        let byte = if byte < 200 { byte % 0x20 } else { byte };
        editor.input(byte, &mut echo, &mut |_| Vec::new());
        assert!(editor.cursor <= editor.line.len() && editor.line.len() <= LINE_MAX);
    }
}
