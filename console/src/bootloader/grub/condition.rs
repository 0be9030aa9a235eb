//! What may stand behind `if`.

use alloc::string::String;

use super::Files;

/// Whether a command succeeds. Those that are not known fail: nothing that they would have done has been done.
pub fn holds(words: &[String], files: &dyn Files) -> bool {
    let (command, arguments) = match words.split_first() {
        Some((command, arguments)) => (command.as_str(), arguments),
        None => return false,
    };
    match command {
        "true" => true,
        "[" => match arguments.split_last() {
            Some((last, arguments)) if last == "]" => test(arguments, files),
            _ => false,
        },
        "test" => test(arguments, files),
        _ => false,
    }
}

fn test(arguments: &[String], files: &dyn Files) -> bool {
    let mut arguments = arguments;
    let mut wanted = true;
    while let Some(("!", rest)) = arguments.split_first().map(|(a, rest)| (a.as_str(), rest)) {
        wanted = !wanted;
        arguments = rest;
    }
    let number = |text: &String| text.parse::<i64>().unwrap_or(0);
    let holds = match arguments {
        [text] => !text.is_empty(),
        [operator, text] => match operator.as_str() {
            "-n" => !text.is_empty(),
            "-z" => text.is_empty(),
            "-e" | "-f" | "-s" => files.has(text).unwrap_or(false),
            _ => false,
        },
        [a, operator, b] => match operator.as_str() {
            "=" | "==" => a == b,
            "!=" => a != b,
            "-eq" => number(a) == number(b),
            "-ne" => number(a) != number(b),
            "-lt" => number(a) < number(b),
            "-le" => number(a) <= number(b),
            "-gt" => number(a) > number(b),
            "-ge" => number(a) >= number(b),
            _ => false,
        },
        _ => false,
    };
    holds == wanted
}
