use super::wire::{Decoder, encode};
use super::*;
use alloc::rc::Rc;
use alloc::string::ToString;
use core::cell::RefCell;
use proptest::prelude::*;

/// A store of one answer a request: `(kind, payload)` in order, delivered in pieces of `piece` bytes.
struct Script {
    sent: Rc<RefCell<Vec<u8>>>,
    answers: VecDeque<(u32, Vec<u8>)>,
    incoming: VecDeque<u8>,
    piece: usize,
    expect: usize,
}

impl Transport for Script {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let count = bytes.len().min(self.piece);
        self.sent.borrow_mut().extend_from_slice(&bytes[..count]);
        let sent = self.sent.borrow();
        // Every complete request is answered at once, after a watch event.
        while let Some(header) = sent.get(self.expect..self.expect + 16) {
            let len = u32::from_le_bytes(header[12..16].try_into().unwrap()) as usize;
            if sent.len() < self.expect + 16 + len {
                break;
            }
            let request = u32::from_le_bytes(header[4..8].try_into().unwrap());
            self.expect += 16 + len;
            self.incoming
                .extend(encode(XS_WATCH_EVENT, 0, 0, &[b"a/b\0tok\0"]).unwrap());
            let (kind, payload) = self.answers.pop_front().unwrap();
            self.incoming
                .extend(encode(kind, request, 0, &[&payload]).unwrap());
        }
        Ok(count)
    }

    fn receive(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        let count = out.len().min(self.piece).min(self.incoming.len());
        for byte in &mut out[..count] {
            *byte = self.incoming.pop_front().unwrap();
        }
        Ok(count)
    }

    fn wait(&mut self) -> Result<(), Errno> {
        panic!("nothing will come");
    }

    fn rearm(&mut self, _: bool) {}

    fn port(&self) -> EvtchnPort {
        7
    }
}

fn store(piece: usize, answers: &[(u32, &[u8])]) -> (Store, Rc<RefCell<Vec<u8>>>) {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let answers = answers
        .iter()
        .map(|(kind, payload)| (*kind, payload.to_vec()))
        .collect();
    let script = Script {
        sent: sent.clone(),
        answers,
        incoming: VecDeque::new(),
        piece,
        expect: 0,
    };
    (Store::over(Box::new(script)), sent)
}

#[test]
fn values_errors_and_events_arrive_in_any_pieces() {
    for piece in [1, 3, 16, 4096] {
        let (mut store, sent) = store(
            piece,
            &[
                (XS_READ, b"42"),
                (XS_ERROR, b"ENOENT\0"),
                (XS_DIRECTORY, b"0\x001\0vif\0"),
                (XS_WRITE, b"OK\0"),
                (XS_DIRECTORY, b""),
            ],
        );
        assert_eq!(store.read_number("domid"), Ok(42));
        assert_eq!(store.read("x"), Err(Errno::ENOENT));
        assert_eq!(store.directory("y").unwrap(), ["0", "1", "vif"]);
        assert_eq!(store.write("key", "value"), Ok(()));
        assert_eq!(store.directory("empty").unwrap(), Vec::<String>::new());
        let event = WatchEvent {
            path: "a/b".to_string(),
            token: "tok".to_string(),
        };
        for _ in 0..5 {
            assert_eq!(store.next_event(), Ok(Some(event.clone())));
        }
        assert_eq!(store.next_event(), Ok(None));
        assert!(
            sent.borrow()
                .windows(9)
                .any(|window| window == b"key\0value"),
            "no zero after a value"
        );
    }
}

#[test]
fn a_conflicting_transaction_is_run_again() {
    let ok: &[u8] = b"OK\0";
    let (mut store, _) = store(
        64,
        &[
            (XS_TRANSACTION_START, b"5\0"),
            (XS_WRITE, ok),
            (XS_ERROR, b"EAGAIN\0"),
            (XS_TRANSACTION_START, b"6\0"),
            (XS_WRITE, ok),
            (XS_TRANSACTION_END, ok),
        ],
    );
    let mut runs = 0;
    let result = store.transaction(|transaction| {
        runs += 1;
        transaction.write("a", "b")?;
        Ok(runs)
    });
    assert_eq!(result, Ok(2));
}

#[test]
fn a_failing_transaction_is_given_up() {
    let (mut store, sent) = store(
        64,
        &[
            (XS_TRANSACTION_START, b"9\0"),
            (XS_ERROR, b"EACCES\0"),
            (XS_TRANSACTION_END, b"OK\0"),
        ],
    );
    assert_eq!(
        store.transaction(|transaction| transaction.mkdir("x")),
        Err(Errno::EACCES)
    );
    assert!(sent.borrow().ends_with(b"F\0"), "aborted, not committed");
}

#[test]
fn a_payload_beyond_the_limit_is_refused_both_ways() {
    let (mut store, _) = store(64, &[]);
    assert_eq!(store.write("a", [b'x'; 4096]), Err(Errno::E2BIG));
    let mut decoder = Decoder::default();
    decoder.wanted().copy_from_slice(&[0xff; 16]);
    assert_eq!(decoder.advance(16), Err(Errno::EIO));
}

proptest! {
    #[test]
    fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1_usize..40) {
        let mut decoder = Decoder::default();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let wanted = decoder.wanted();
            prop_assert!(!wanted.is_empty());
            let count = wanted.len().min(piece).min(rest.len());
            wanted[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            match decoder.advance(count) {
                Ok(Some(message)) => drop(message.into_result(XS_READ)),
                Ok(None) => {}
                Err(_) => return Ok(()),
            }
        }
    }
}
