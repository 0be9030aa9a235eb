//! Messages that wait for their client to take them.

use crate::client::DomId;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Whose request made an event, and which of its requests.
pub type Cause = (DomId, u64);

/// Bytes that a message costs besides its contents.
const OVERHEAD: usize = 80;

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    event: bool,
    cause: Option<Cause>,
    deadline: Option<u64>,
}

impl Message {
    fn footprint(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// What became of a message, for the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Bytes it took.
    pub footprint: usize,
    /// The request that waits for it.
    pub cause: Option<Cause>,
}

/// One connection's queue.
#[derive(Debug, Default)]
pub struct Output {
    queue: VecDeque<Message>,
    /// Bytes of the first message that are out already.
    sent: usize,
    replies: usize,
}

impl Output {
    /// Replies that wait.
    #[must_use]
    pub fn replies(&self) -> usize {
        self.replies
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts a reply behind everything; returns its bytes for the account.
    pub fn push_reply(&mut self, bytes: Vec<u8>) -> usize {
        self.replies += 1;
        self.push(Message {
            bytes,
            event: false,
            cause: None,
            deadline: None,
        })
    }

    /// Bytes that an event would take; `None` when the same event waits already and this one can go.
    #[must_use]
    pub fn event_footprint(&self, bytes: &[u8]) -> Option<usize> {
        let waits = self
            .queue
            .iter()
            .any(|message| message.event && message.bytes == bytes);
        (!waits).then_some(bytes.len() + OVERHEAD)
    }

    /// Puts an event behind everything; after `deadline` (milliseconds) it is dropped if nobody took it.
    pub fn push_event(
        &mut self,
        bytes: Vec<u8>,
        cause: Option<Cause>,
        deadline: Option<u64>,
    ) -> usize {
        self.push(Message {
            bytes,
            event: true,
            cause,
            deadline,
        })
    }

    fn push(&mut self, message: Message) -> usize {
        let footprint = message.footprint();
        self.queue.push_back(message);
        footprint
    }

    /// The bytes to send next.
    #[must_use]
    pub fn next(&self) -> &[u8] {
        self.queue
            .front()
            .and_then(|message| message.bytes.get(self.sent..))
            .unwrap_or_default()
    }

    /// `count` bytes of [`Output::next`] are out. `Some` when that was the end of a message.
    pub fn advance(&mut self, count: usize) -> Option<Gone> {
        self.sent += count;
        if self.sent < self.queue.front()?.bytes.len() {
            return None;
        }
        self.sent = 0;
        self.pop(0)
    }

    /// Takes away one event whose time is over and of which nothing is out.
    pub fn expire(&mut self, now: u64) -> Option<Gone> {
        let started = usize::from(self.sent > 0);
        let late = self
            .queue
            .iter()
            .skip(started)
            .position(|m| m.deadline.is_some_and(|deadline| deadline <= now))?;
        self.pop(late + started)
    }

    /// When the first event's time is over.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let started = usize::from(self.sent > 0);
        self.queue
            .iter()
            .skip(started)
            .filter_map(|message| message.deadline)
            .min()
    }

    fn pop(&mut self, index: usize) -> Option<Gone> {
        let message = self.queue.remove(index)?;
        self.replies -= usize::from(!message.event);
        Some(Gone {
            footprint: message.footprint(),
            cause: message.cause,
        })
    }

    /// Takes everything away.
    pub fn clear(&mut self) -> Vec<Gone> {
        self.sent = 0;
        core::iter::from_fn(|| self.pop(0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_in_order_and_in_pieces() {
        let mut output = Output::default();
        output.push_reply(b"abc".to_vec());
        assert!(output.event_footprint(b"ev").is_some());
        output.push_event(b"ev".to_vec(), Some((5, 1)), Some(10));
        assert_eq!(
            output.event_footprint(b"ev"),
            None,
            "the same event waits already"
        );
        assert_eq!((output.next(), output.replies()), (b"abc".as_slice(), 1));
        assert_eq!(output.advance(2), None);
        assert_eq!(output.next(), b"c");
        assert!(output.advance(1).is_some_and(|gone| gone.cause.is_none()));
        assert_eq!((output.next(), output.replies()), (b"ev".as_slice(), 0));
        assert_eq!(output.advance(2).and_then(|gone| gone.cause), Some((5, 1)));
        assert!(output.is_empty() && output.next().is_empty() && output.advance(0).is_none());
    }

    #[test]
    fn old_events_are_dropped_but_never_half_sent_ones() {
        let mut output = Output::default();
        output.push_event(b"one".to_vec(), None, Some(10));
        output.push_event(b"two".to_vec(), Some((5, 2)), Some(20));
        output.advance(1);
        assert_eq!(output.deadline(), Some(20));
        assert_eq!(output.expire(15), None);
        assert_eq!(output.expire(20).and_then(|gone| gone.cause), Some((5, 2)));
        assert_eq!(output.next(), b"ne");
        assert_eq!(output.clear().len(), 1);
    }
}
