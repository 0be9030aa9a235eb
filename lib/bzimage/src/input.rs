//! The file, as far as it belongs to the kernel.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;

use crate::Error;

/// Bytes that are read of the source at least: it may be a disk, for which each reading is a request.
pub const CHUNK: usize = 32 << 10;

/// A file that is read once, from its beginning.
pub trait Source {
    /// Puts the next bytes into `into`; gives their number, which is 0 only at the end (or if `into` is empty).
    ///
    /// # Errors
    /// Says why it cannot be read.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String>;
}

impl Source for &[u8] {
    fn read(&mut self, into: &mut [u8]) -> Result<usize, String> {
        let (now, later) = self.split_at(self.len().min(into.len()));
        if let Some(into) = into.get_mut(..now.len()) {
            into.copy_from_slice(now);
        }
        *self = later;
        Ok(now.len())
    }
}

struct State<'a> {
    source: Box<dyn Source + 'a>,
    /// Read already, and from where on not taken.
    head: Vec<u8>,
    at: usize,
    /// Bytes until the end of what is of interest.
    left: u64,
    failed: Option<Error>,
}

impl State<'_> {
    /// Keeps why the source failed.
    fn fail(&mut self, reason: String) -> Error {
        let error = Error::Source(reason);
        self.failed = Some(error.clone());
        error
    }
}

/// A part of a [`Source`] with what was read of it ahead. Clones are the same input: decoders own one.
#[derive(Clone)]
pub struct Input<'a>(Rc<RefCell<State<'a>>>);

impl<'a> Input<'a> {
    pub fn new(source: Box<dyn Source + 'a>) -> Self {
        Self(Rc::new(RefCell::new(State {
            source,
            head: Vec::new(),
            at: 0,
            left: u64::MAX,
            failed: None,
        })))
    }

    /// The first `count` bytes, fewer at the end; they are read again afterwards.
    pub fn look(&self, count: usize) -> Result<Vec<u8>, Error> {
        let state = &mut *self.0.borrow_mut();
        while state.head.len() - state.at < count {
            let mut more = [0; 512];
            let got = state.source.read(&mut more).map_err(Error::Source)?;
            if got == 0 {
                break;
            }
            state.head.extend(more.iter().take(got));
        }
        let seen = state.head.iter().skip(state.at).take(count);
        Ok(seen.copied().collect())
    }

    /// The end is `left` bytes from here.
    pub fn limit(&self, left: u64) {
        self.0.borrow_mut().left = left;
    }

    /// Bytes until the limit.
    pub fn left(&self) -> u64 {
        self.0.borrow().left
    }

    /// Reads some bytes; none at the end or the limit.
    pub fn read(&self, into: &mut [u8]) -> Result<usize, Error> {
        let state = &mut *self.0.borrow_mut();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let room = usize::try_from(state.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        let into = into.get_mut(..room).unwrap_or_default();
        if state.at >= state.head.len() && room > 0 && room < CHUNK {
            let ahead = usize::try_from(state.left).unwrap_or(CHUNK).min(CHUNK);
            state.at = 0;
            state.head.resize(ahead, 0);
            let read = state.source.read(&mut state.head);
            state.head.truncate(read.as_ref().map_or(0, |&count| count));
            read.map_err(|reason| state.fail(reason))?;
        }
        let ahead = state.head.get(state.at..).unwrap_or_default();
        let count = if !ahead.is_empty() {
            let count = ahead.len().min(room);
            for (to, from) in into.iter_mut().zip(ahead) {
                *to = *from;
            }
            state.at += count;
            count
        } else if room < CHUNK {
            0
        } else {
            let read = state.source.read(into);
            read.map_err(|reason| state.fail(reason))?.min(room)
        };
        state.left -= count as u64;
        Ok(count)
    }

    /// Fills `into`.
    pub fn read_exact(&self, into: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.read(rest)? {
                0 => return Err(Error::Truncated),
                count => done += count,
            }
        }
        Ok(())
    }

    /// The next byte.
    pub fn byte(&self) -> Result<u8, Error> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// The next four bytes, the lowest first.
    pub fn word(&self) -> Result<u32, Error> {
        let mut bytes = [0; 4];
        self.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Leaves bytes out.
    pub fn skip(&self, count: u64) -> Result<(), Error> {
        let mut left = count;
        let mut scratch = [0; 512];
        while left > 0 {
            let room = scratch
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let part = scratch.get_mut(..room).unwrap_or_default();
            self.read_exact(part)?;
            left -= room as u64;
        }
        Ok(())
    }

    /// Why the source failed, if it did: a decoder of others only says that something was wrong.
    pub fn failure(&self) -> Option<Error> {
        self.0.borrow().failed.clone()
    }
}
