//! Requests and responses.
//!
//! One request runs at a time, like a command at the prompt. The order is `Run`, `Accepted` (at once, even if something else
//! runs), any number of `Output`, `Exit`. A request that is sent again with the same number is not run again: the host
//! repeats it when no `Accepted` comes.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Bytes of the words of a command, and how many words there may be.
pub const WORDS_MAX: (usize, usize) = (4096, 64);
/// Bytes of a file that goes along.
pub const FILE_MAX: usize = 64 << 10;
/// Bytes in one message of output or input.
pub const CHUNK: usize = 1024;

/// A file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name, as the command's words have it: where the command names it, this is what it reads.
    pub name: String,
    /// What is in it, at most [`FILE_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// From the host. `id` is the host's choice, another for each command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a command.
    Run {
        /// The command's number.
        id: u32,
        /// The command: its name and its arguments.
        words: Vec<String>,
        /// A file of the host for it.
        file: Option<File>,
    },
    /// What was typed, for a command that has a guest's console.
    Input {
        /// The command's number.
        id: u32,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// End the command, as Ctrl-C does.
    Cancel {
        /// The command's number.
        id: u32,
    },
    /// Is the command still known?
    Ping {
        /// The command's number.
        id: u32,
    },
}

/// Where output belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The frame was damaged, or is none.
    Damaged,
    /// It is of another version of the protocol; this answer's frame has the version that is spoken.
    Version,
    /// It is longer than a frame may be.
    TooLong,
    /// The command has too many words or too large a file.
    TooMuch,
    /// Too many commands wait already.
    Busy,
}

/// From Domain-0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// The command will be run.
    Accepted {
        /// The command's number.
        id: u32,
    },
    /// The command's output.
    Output {
        /// The command's number.
        id: u32,
        /// Where it belongs.
        stream: Stream,
        /// At most [`CHUNK`] bytes.
        bytes: Vec<u8>,
    },
    /// The command has the console of a guest from now on: what is typed is wanted.
    Attached {
        /// The command's number.
        id: u32,
    },
    /// The command has ended.
    Exit {
        /// The command's number.
        id: u32,
        /// Its exit code.
        code: i32,
    },
    /// Answer to [`Request::Ping`].
    Alive {
        /// The command's number.
        id: u32,
        /// Whether it waits or runs.
        known: bool,
    },
    /// A request is not carried out.
    Refused {
        /// The command's number; none if that could not be read.
        id: Option<u32>,
        /// Why.
        refusal: Refusal,
    },
}

impl Request {
    /// Whether all parts are within their limits.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::Run { words, file, .. } => {
                let bytes: usize = words.iter().map(String::len).sum();
                let file_fits =
                    |file: &File| file.bytes.len() <= FILE_MAX && file.name.len() <= WORDS_MAX.0;
                !words.is_empty()
                    && words.len() <= WORDS_MAX.1
                    && bytes <= WORDS_MAX.0
                    && file.as_ref().is_none_or(file_fits)
            }
            Self::Input { bytes, .. } => bytes.len() <= CHUNK,
            Self::Cancel { .. } | Self::Ping { .. } => true,
        }
    }

    /// The command's number.
    #[must_use]
    pub const fn id(&self) -> u32 {
        match self {
            Self::Run { id, .. }
            | Self::Input { id, .. }
            | Self::Cancel { id }
            | Self::Ping { id } => *id,
        }
    }
}
