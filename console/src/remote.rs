//! Commands from the host over the second serial port: which waits, which runs, and what is to be sent back.
//!
//! The protocol is `lib/remote`'s. Here is no machine: the caller moves bytes and runs commands.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use remote::{CHUNK, File, Reader, Refusal, Request, Response, Stream, encode};

/// Commands that wait.
const WAITING_MAX: usize = 4;
/// Bytes that wait for the line; output beyond is lost, and the host is told.
const OUT_MAX: usize = 4 << 20;
/// Bytes typed ahead of a guest that does not read.
const TYPED_MAX: usize = 64 << 10;
/// Exit code of a command that was cancelled before it ran, as a shell's for Ctrl-C.
const INTERRUPTED: i32 = 130;

/// A command of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Command {
    id: u32,
    /// Its name and its arguments; none while it runs.
    words: Vec<String>,
    /// A file that came with it.
    file: Option<File>,
}

/// Domain-0's end of the line.
#[derive(Debug, Default)]
pub struct Remote {
    reader: Reader,
    waiting: VecDeque<Command>,
    running: Option<Command>,
    /// The last one that ended, with its exit code: the host may not have heard of it.
    last: Option<(u32, i32)>,
    cancelled: bool,
    /// Output of the running command was lost.
    cut: bool,
    /// What the running command is to give to a guest's console.
    pub typed: VecDeque<u8>,
    /// What is to be sent.
    pub out: VecDeque<u8>,
}

impl Remote {
    /// Takes bytes from the line.
    pub fn receive(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.reader.push(byte) {
                None => {}
                Some(Ok(request)) => self.handle(request),
                Some(Err(error)) => self.refuse(None, error.into()),
            }
        }
    }

    fn handle(&mut self, request: Request) {
        let id = request.id();
        if !request.is_bounded() {
            return self.refuse(Some(id), Refusal::TooMuch);
        }
        match request {
            Request::Run { words, file, .. } => self.run(Command { id, words, file }),
            Request::Input { bytes, .. } if self.is_running(id) => {
                let room = TYPED_MAX.saturating_sub(self.typed.len());
                self.typed.extend(bytes.into_iter().take(room));
            }
            Request::Input { .. } => {}
            Request::Cancel { .. } if self.is_running(id) => self.cancelled = true,
            Request::Cancel { .. } => {
                let before = self.waiting.len();
                self.waiting.retain(|command| command.id != id);
                if self.waiting.len() < before {
                    self.ended(id, INTERRUPTED);
                }
            }
            Request::Ping { .. } => {
                let known = self.is_known(id);
                self.send(&Response::Alive { id, known });
            }
        }
    }

    /// A new command is accepted; one that was sent again is not run again.
    fn run(&mut self, command: Command) {
        let id = command.id;
        if let Some((last, code)) = self.last
            && last == id
        {
            self.send(&Response::Accepted { id });
            return self.send(&Response::Exit { id, code });
        }
        if !self.is_known(id) {
            if self.waiting.len() >= WAITING_MAX {
                return self.refuse(Some(id), Refusal::Busy);
            }
            // The host waits for the end of each: it has given up the one that runs.
            self.cancelled = self.running.is_some();
            if self.running.is_none() && self.waiting.is_empty() {
                // Nobody is there any more for what was not sent.
                self.out.clear();
            }
            self.waiting.push_back(command);
        }
        self.send(&Response::Accepted { id });
    }

    fn is_running(&self, id: u32) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.id == id)
    }

    fn is_known(&self, id: u32) -> bool {
        self.is_running(id) || self.waiting.iter().any(|waiting| waiting.id == id)
    }

    fn refuse(&mut self, id: Option<u32>, refusal: Refusal) {
        // Noise must not fill the memory.
        if self.out.len() < OUT_MAX / 2 {
            self.send(&Response::Refused { id, refusal });
        }
    }

    fn send(&mut self, response: &Response) {
        self.out.extend(encode(response));
    }

    /// The words of the next command; the caller runs it and says [`Self::end`].
    pub fn begin(&mut self) -> Option<Vec<String>> {
        if self.running.is_some() {
            return None;
        }
        let mut command = self.waiting.pop_front()?;
        let words = core::mem::take(&mut command.words);
        self.running = Some(command);
        self.cancelled = false;
        self.cut = false;
        self.typed.clear();
        Some(words)
    }

    /// The running command says something; nothing happens if none runs.
    pub fn say(&mut self, stream: Stream, text: &[u8]) {
        let Some(id) = self.running.as_ref().map(|running| running.id) else {
            return;
        };
        for bytes in text.chunks(CHUNK) {
            if self.out.len() > OUT_MAX {
                self.cut = true;
                return;
            }
            let bytes = bytes.to_vec();
            self.send(&Response::Output { id, stream, bytes });
        }
    }

    /// The running command has a guest's console: what the host types is wanted.
    pub fn attached(&mut self) {
        if let Some(id) = self.running.as_ref().map(|running| running.id) {
            self.send(&Response::Attached { id });
        }
    }

    /// Whether the running command should end; forgotten by asking.
    pub fn take_cancelled(&mut self) -> bool {
        self.running.is_some() && core::mem::take(&mut self.cancelled)
    }

    /// The file that came with the running command, if `name` means it.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        let file = self.running.as_ref()?.file.as_ref()?;
        (file.name == name).then_some(&file.bytes)
    }

    /// The running command has ended.
    pub fn end(&mut self, code: i32) {
        let Some(Command { id, .. }) = self.running.take() else {
            return;
        };
        if core::mem::take(&mut self.cut) {
            let stream = Stream::Error;
            let bytes = b"(there was more output than the line could take)\n".to_vec();
            self.send(&Response::Output { id, stream, bytes });
        }
        self.ended(id, code);
    }

    fn ended(&mut self, id: u32, code: i32) {
        self.last = Some((id, code));
        self.send(&Response::Exit { id, code });
    }
}

#[cfg(test)]
mod tests;
