use super::*;
use proptest::prelude::*;
use std::string::ToString;

fn request(id: u32, line: &str) -> Request {
    Request::Run {
        id,
        words: line.split(' ').map(ToString::to_string).collect(),
        file: None,
    }
}

/// What is to be sent.
fn sent(remote: &mut Remote) -> Vec<Response> {
    let mut reader = Reader::default();
    let bytes: Vec<u8> = remote.out.drain(..).collect();
    let said = bytes.iter().filter_map(|byte| reader.push(*byte));
    said.map(|said| said.expect("a whole frame")).collect()
}

fn ask(remote: &mut Remote, request: &Request) -> Vec<Response> {
    remote.receive(&encode(request));
    sent(remote)
}

#[test]
fn a_command_runs_once_however_often_it_is_sent() {
    let mut remote = Remote::default();
    let list = request(5, "xl list");
    let accepted = Response::Accepted { id: 5 };
    let exit = Response::Exit { id: 5, code: 3 };
    assert_eq!(ask(&mut remote, &list), core::slice::from_ref(&accepted));
    assert_eq!(ask(&mut remote, &list), core::slice::from_ref(&accepted));
    assert_eq!(remote.begin().unwrap(), ["xl", "list"]);
    assert_eq!(ask(&mut remote, &list), core::slice::from_ref(&accepted));
    assert_eq!(remote.begin(), None);
    remote.say(Stream::Output, b"text");
    remote.end(3);
    let output = Response::Output {
        id: 5,
        stream: Stream::Output,
        bytes: b"text".to_vec(),
    };
    assert_eq!(sent(&mut remote), [output, exit.clone()]);
    assert_eq!(ask(&mut remote, &list), [accepted, exit]);
    assert_eq!(remote.begin(), None);
    let unknown = Response::Alive {
        id: 5,
        known: false,
    };
    assert_eq!(ask(&mut remote, &Request::Ping { id: 5 }), [unknown]);
}

#[test]
fn a_new_command_ends_the_one_before() {
    let mut remote = Remote::default();
    ask(&mut remote, &request(1, "sleep 1000"));
    remote.begin().unwrap();
    assert!(!remote.take_cancelled());
    ask(&mut remote, &request(2, "xl list"));
    assert!(remote.take_cancelled());
    assert_eq!(remote.begin(), None, "one at a time");
    let known = Response::Alive { id: 2, known: true };
    assert_eq!(ask(&mut remote, &Request::Ping { id: 2 }), [known]);
    remote.end(1);
    assert_eq!(remote.begin().unwrap(), ["xl", "list"]);
    assert!(!remote.take_cancelled());
}

#[test]
fn cancelling_and_typing_concern_one_command() {
    let mut remote = Remote::default();
    ask(&mut remote, &request(1, "xl console debian"));
    ask(&mut remote, &request(2, "xl list"));
    remote.begin().unwrap();
    let bytes = b"ls\r".to_vec();
    ask(
        &mut remote,
        &Request::Input {
            id: 2,
            bytes: bytes.clone(),
        },
    );
    assert!(remote.typed.is_empty());
    ask(&mut remote, &Request::Input { id: 1, bytes });
    assert_eq!(remote.typed, b"ls\r");
    let gone = Response::Exit { id: 2, code: 130 };
    assert_eq!(ask(&mut remote, &Request::Cancel { id: 2 }), [gone]);
    assert!(!remote.take_cancelled());
    ask(&mut remote, &Request::Cancel { id: 1 });
    assert!(remote.take_cancelled());
}

#[test]
fn limits_are_answered() {
    let mut remote = Remote::default();
    for id in 0..WAITING_MAX as u32 {
        ask(&mut remote, &request(id, "xl list"));
    }
    let refused = |id, refusal| Response::Refused { id, refusal };
    assert_eq!(
        ask(&mut remote, &request(77, "xl list")),
        [refused(Some(77), Refusal::Busy)]
    );
    let many = "x ".repeat(100);
    assert_eq!(
        ask(&mut remote, &request(78, &many)),
        [refused(Some(78), Refusal::TooMuch)]
    );
    remote.receive(b"\0garbage\0");
    assert_eq!(sent(&mut remote), [refused(None, Refusal::Damaged)]);
}

#[test]
fn output_that_nobody_takes_is_cut() {
    let mut remote = Remote::default();
    ask(&mut remote, &request(1, "cat all"));
    remote.begin().unwrap();
    for _ in 0..OUT_MAX / CHUNK * 2 {
        remote.say(Stream::Output, &[b'x'; CHUNK]);
    }
    remote.end(0);
    assert!(remote.out.len() < OUT_MAX + 2 * CHUNK);
    let said = sent(&mut remote);
    assert!(matches!(
        &said[said.len() - 2..],
        [
            Response::Output {
                stream: Stream::Error,
                ..
            },
            Response::Exit { code: 0, .. }
        ]
    ));
    for _ in 0..OUT_MAX {
        remote.receive(b"x\0");
    }
    assert!(remote.out.len() < OUT_MAX);
    // A new command finds the line free.
    ask(&mut remote, &request(2, "xl list"));
    assert!(remote.out.is_empty());
}

#[test]
fn a_file_is_the_running_commands() {
    let mut remote = Remote::default();
    let file = File {
        name: "a.cfg".into(),
        bytes: b"name = \"a\"".to_vec(),
    };
    let words = ["xl", "create", "a.cfg"].map(ToString::to_string).to_vec();
    ask(
        &mut remote,
        &Request::Run {
            id: 1,
            words,
            file: Some(file),
        },
    );
    assert_eq!(remote.file("a.cfg"), None);
    remote.begin().unwrap();
    assert_eq!(remote.file("a.cfg"), Some(b"name = \"a\"".as_slice()));
    assert_eq!(remote.file("b.cfg"), None);
    remote.end(0);
    assert_eq!(remote.file("a.cfg"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let mut remote = Remote::default();
        remote.receive(&bytes);
        while remote.begin().is_some() {
            remote.end(0);
        }
        let mut said = ask(&mut remote, &request(u32::MAX, "xl list"));
        prop_assert_eq!(said.pop(), Some(Response::Accepted { id: u32::MAX }));
    }
}
