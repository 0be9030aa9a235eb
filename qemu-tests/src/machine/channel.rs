//! The host's end of the machine's second serial port: runs commands in Domain-0 (`cargo xtask xl`).

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use remote::{CHUNK, File, FrameError, Reader, Refusal, Request, Response, Stream, encode};

/// How often a command is sent until it is accepted, and how long each attempt waits: a machine that is emulated on a busy
/// host may be slow, and one that has just booted may have lost the first.
const ATTEMPTS: u32 = 8;
const ATTEMPT: Duration = Duration::from_secs(5);
/// While a command runs, the machine is asked this often whether it is still there, and may stay silent so often.
const PING: Duration = Duration::from_secs(10);
const PINGS: u32 = 6;

/// Why a command has no exit code.
#[derive(Debug)]
pub enum ChannelError {
    /// Nothing came back.
    Silent,
    /// It has ended, or QEMU has.
    Ended,
    /// It knows nothing of the command that it had accepted.
    Forgotten,
    /// It speaks another version of the protocol.
    Version(u8),
    /// It does not carry the command out.
    Refused(Refusal),
    /// The socket.
    Io(io::Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str(
                "the machine does not answer: is it up, and does loader.conf leave com2 to Domain-0?",
            ),
            Self::Ended => f.write_str("the machine has ended"),
            Self::Forgotten => f.write_str("the machine has forgotten the command: did it restart?"),
            Self::Version(theirs) => write!(f, "{}", FrameError::Version(*theirs)),
            Self::Refused(Refusal::TooMuch | Refusal::TooLong) => {
                f.write_str("too many words, or too large a file, for the machine")
            }
            Self::Refused(Refusal::Busy) => f.write_str("too many commands wait in the machine"),
            Self::Refused(Refusal::Damaged) => {
                f.write_str("the line to the machine damages what is sent")
            }
            Self::Refused(Refusal::Version) => {
                f.write_str("the machine speaks another version of the protocol")
            }
            Self::Io(error) => write!(f, "the line to the machine: {error}"),
        }
    }
}

impl std::error::Error for ChannelError {}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Self::Ended,
            _ => Self::Io(error),
        }
    }
}

/// What a running command does.
#[derive(Debug)]
pub enum Event<'a> {
    /// It says something.
    Output(Stream, &'a [u8]),
    /// It has a guest's console; [`Sender::input`] is wanted.
    Attached(Sender),
}

/// Sends to the running command, from any thread.
#[derive(Debug)]
pub struct Sender {
    stream: UnixStream,
    id: u32,
}

impl Sender {
    /// What was typed.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn input(&mut self, bytes: &[u8]) -> io::Result<()> {
        let id = self.id;
        for bytes in bytes.chunks(CHUNK) {
            let bytes = bytes.to_vec();
            self.stream
                .write_all(&encode(&Request::Input { id, bytes }))?;
        }
        Ok(())
    }

    /// The command is to end.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn cancel(&mut self) -> io::Result<()> {
        self.stream
            .write_all(&encode(&Request::Cancel { id: self.id }))
    }
}

/// The line to a machine.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    reader: Reader,
    /// Read from the socket and not looked at.
    read: VecDeque<u8>,
    last: u32,
}

impl Channel {
    /// Connects to the socket of a machine.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos() as u64;
        Ok(Self {
            stream: UnixStream::connect(socket)?,
            reader: Reader::default(),
            read: VecDeque::new(),
            // Two processes must not use the same numbers one after the other.
            last: (now ^ now >> 32) as u32 ^ std::process::id() << 16,
        })
    }

    /// Writes bytes to the line as they are, for tests.
    ///
    /// # Errors
    /// When the machine has ended.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Runs a command and gives its exit code; `on` learns what it says.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub fn run(
        &mut self,
        words: &[String],
        file: Option<File>,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<i32, ChannelError> {
        self.last = self.last.wrapping_add(1);
        let id = self.last;
        let request = Request::Run {
            id,
            words: words.to_vec(),
            file,
        };
        if !request.is_bounded() {
            return Err(ChannelError::Refused(Refusal::TooMuch));
        }
        self.ask(id, &request)?;
        self.follow(id, on)
    }

    /// Sends the command until it is accepted.
    fn ask(&mut self, id: u32, request: &Request) -> Result<(), ChannelError> {
        let frame = encode(request);
        let mut damaged = false;
        for _ in 0..ATTEMPTS {
            self.stream.write_all(&frame)?;
            let deadline = Instant::now() + ATTEMPT;
            while let Some(response) = self.receive(deadline)? {
                match response {
                    Response::Accepted { id: of } if of == id => return Ok(()),
                    Response::Refused {
                        id: Some(of),
                        refusal,
                    } if of == id => return Err(ChannelError::Refused(refusal)),
                    // That may be of what was on the line before, or of this: then nothing more comes.
                    Response::Refused { id: None, .. } => damaged = true,
                    _ => {}
                }
            }
        }
        Err(if damaged {
            ChannelError::Refused(Refusal::Damaged)
        } else {
            ChannelError::Silent
        })
    }

    /// Waits for the end of the command.
    fn follow(&mut self, id: u32, on: &mut dyn FnMut(Event<'_>)) -> Result<i32, ChannelError> {
        let mut silent = 0;
        loop {
            let Some(response) = self.receive(Instant::now() + PING)? else {
                silent += 1;
                if silent > PINGS {
                    return Err(ChannelError::Silent);
                }
                self.stream.write_all(&encode(&Request::Ping { id }))?;
                continue;
            };
            silent = 0;
            match response {
                Response::Output {
                    id: of,
                    stream,
                    bytes,
                } if of == id => on(Event::Output(stream, &bytes)),
                Response::Attached { id: of } if of == id => {
                    let stream = self.stream.try_clone()?;
                    on(Event::Attached(Sender { stream, id }));
                }
                Response::Exit { id: of, code } if of == id => return Ok(code),
                Response::Alive {
                    id: of,
                    known: false,
                } if of == id => return Err(ChannelError::Forgotten),
                _ => {}
            }
        }
    }

    /// The next response; none when `deadline` comes first. Noise is passed over.
    fn receive(&mut self, deadline: Instant) -> Result<Option<Response>, ChannelError> {
        let mut block = [0; 4096];
        loop {
            while let Some(byte) = self.read.pop_front() {
                match self.reader.push(byte) {
                    Some(Ok(response)) => return Ok(Some(response)),
                    Some(Err(FrameError::Version(theirs))) => {
                        return Err(ChannelError::Version(theirs));
                    }
                    Some(Err(_)) | None => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut block) {
                Ok(0) => return Err(ChannelError::Ended),
                Ok(length) => self.read.extend(&block[..length]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// A machine's end: answers what `answer` says, request by request, and ends.
    fn machine(
        answer: impl Fn(u32, Request) -> Vec<u8> + Send + 'static,
    ) -> (Channel, thread::JoinHandle<()>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = thread::spawn(move || {
            let mut reader = Reader::default();
            let mut byte = [0];
            let mut count = 0;
            while let Ok(1..) = theirs.read(&mut byte) {
                if let Some(Ok(request)) = reader.push(byte[0]) {
                    let said = answer(count, request);
                    count += 1;
                    if said.is_empty() || theirs.write_all(&said).is_err() {
                        return;
                    }
                }
            }
        });
        let channel = Channel {
            stream: ours,
            reader: Reader::default(),
            read: VecDeque::new(),
            last: 41,
        };
        (channel, thread)
    }

    fn list(channel: &mut Channel) -> (Result<i32, ChannelError>, Vec<u8>) {
        let mut said = Vec::new();
        let words = ["xl".to_owned(), "list".to_owned()];
        let code = channel.run(&words, None, &mut |event| {
            if let Event::Output(_, bytes) = event {
                said.extend_from_slice(bytes);
            }
        });
        (code, said)
    }

    #[test]
    fn noise_and_others_answers_are_passed_over() {
        let (mut channel, _thread) = machine(|_, request| {
            assert_eq!(request.id(), 42);
            let mut said = b"(boot noise)\0\0".to_vec();
            for (id, text) in [(7, "not ours"), (42, "ours")] {
                said.extend(encode(&Response::Accepted { id }));
                said.extend(encode(&Response::Output {
                    id,
                    stream: Stream::Output,
                    bytes: text.into(),
                }));
                said.extend(encode(&Response::Exit {
                    id,
                    code: id as i32,
                }));
            }
            said
        });
        let (code, said) = list(&mut channel);
        assert_eq!((code.unwrap(), said.as_slice()), (42, b"ours".as_slice()));
    }

    #[test]
    fn every_end_is_told_from_the_others() {
        let (mut channel, _thread) = machine(|_, _| Vec::new());
        assert!(matches!(list(&mut channel).0, Err(ChannelError::Ended)));
        let (mut channel, _thread) = machine(|_, request| {
            encode(&Response::Refused {
                id: Some(request.id()),
                refusal: Refusal::Busy,
            })
        });
        let refused = list(&mut channel).0;
        assert!(matches!(refused, Err(ChannelError::Refused(Refusal::Busy))));
        // A frame of another version, made by hand: COBS of 2, 9 and the checksum of both.
        let other = [0, 7, 2, 9, 0xd9, 0xc8, 0x33, 0x0a, 0];
        let (mut channel, _thread) = machine(move |_, _| other.to_vec());
        let error = list(&mut channel).0.unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
        let words = vec!["x".repeat(100_000)];
        let error = channel.run(&words, None, &mut |_| {}).unwrap_err();
        assert!(matches!(error, ChannelError::Refused(Refusal::TooMuch)));
    }
}
