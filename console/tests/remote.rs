//! Commands from the host, over the second serial port.

mod machine;
mod typing;

use console::app::App;
use machine::Pretend;
use remote::{File, Reader, Refusal, Request, Response, Stream, encode};
use typing::{CFG, archive, booted, type_line};

fn send(app: &mut App<'_, Pretend>, request: &Request) {
    app.host.line_in.extend(encode(request));
}

fn request(id: u32, line: &str) -> Request {
    Request::Run {
        id,
        words: line.split(' ').map(ToString::to_string).collect(),
        file: None,
    }
}

/// What came back.
fn responses(app: &mut App<'_, Pretend>) -> Vec<Response> {
    let mut reader = Reader::default();
    let bytes = std::mem::take(&mut app.host.line_out);
    let said = bytes.iter().filter_map(|byte| reader.push(*byte));
    said.map(|said| said.expect("a whole frame")).collect()
}

/// Standard output, standard error, exit code.
fn outcome(responses: &[Response]) -> (String, String, Option<i32>) {
    let mut text = [Vec::new(), Vec::new()];
    let mut code = None;
    for response in responses {
        match response {
            Response::Output { stream, bytes, .. } => {
                text[usize::from(*stream == Stream::Error)].extend(bytes);
            }
            Response::Exit { code: exit, .. } => code = Some(*exit),
            _ => {}
        }
    }
    let [out, error] = text.map(|text| String::from_utf8(text).unwrap());
    (out, error, code)
}

fn ask(app: &mut App<'_, Pretend>, request: &Request) -> (String, String, Option<i32>) {
    send(app, request);
    app.turn();
    let said = responses(app);
    assert_eq!(said[0], Response::Accepted { id: request.id() });
    outcome(&said)
}

#[test]
fn a_command_is_run_and_the_operator_sees_nothing() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    app.host.typed.extend(b"xl li");
    app.turn();
    app.host.seen();
    let (out, error, code) = ask(&mut app, &request(1, "xl domid bridge"));
    assert_eq!((out.as_str(), error.as_str(), code), ("4\n", "", Some(0)));
    let (out, error, code) = ask(&mut app, &request(2, "xl list nobody"));
    let invalid = "nobody is an invalid domain identifier (rc=-6)\n";
    assert_eq!((out.as_str(), error.as_str(), code), ("", invalid, Some(1)));
    assert_eq!(ask(&mut app, &request(3, "xl pause")).2, Some(2));
    assert_eq!(app.host.seen(), "");
    // The line that was being typed goes on, and its $? is the operator's.
    let (said, code) = type_line(&mut app, "st bridge");
    assert!(said.contains("bridge"), "{said}");
    assert_eq!(code, 0);
    assert_eq!(type_line(&mut app, "echo $?"), ("0".into(), 0));
}

#[test]
fn a_guest_is_created_from_a_file_of_the_host() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let words = ["xl", "create", "./mine.cfg"].map(ToString::to_string);
    let with = |id, text: &str| Request::Run {
        id,
        words: words.to_vec(),
        file: Some(File {
            name: "./mine.cfg".into(),
            bytes: text.as_bytes().to_vec(),
        }),
    };
    let (out, _, code) = ask(&mut app, &with(1, &CFG.replace("\"debian\"", "\"mine\"")));
    assert_eq!(
        (out.as_str(), code),
        ("Parsing config from ./mine.cfg\n", Some(0))
    );
    assert_eq!(ask(&mut app, &request(2, "xl domid mine")).0, "5\n");
    // Without the file there is none of that name.
    assert_eq!(
        ask(&mut app, &request(3, "xl create ./mine.cfg")).2,
        Some(3)
    );
    let (out, error, code) = ask(&mut app, &with(4, "name = \n"));
    assert!(error.contains("./mine.cfg:1"), "{out}{error}");
    assert_eq!(code, Some(1));
    assert_eq!(ask(&mut app, &request(5, "xl destroy mine")).2, Some(0));
    assert_eq!(app.host.seen(), "");
}

#[test]
fn a_file_of_the_host_is_nobody_elses() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    let name = "/etc/xen/debian.cfg";
    let mine = CFG.replace("\"debian\"", "\"mine\"");
    let request = Request::Run {
        id: 1,
        words: ["xl", "create", "-c", name].map(String::from).to_vec(),
        file: Some(File {
            name: name.into(),
            bytes: mine.into_bytes(),
        }),
    };
    assert_eq!(ask(&mut app, &request).2, None, "it is at the console");
    let (said, _) = type_line(&mut app, &format!("cat {name}"));
    assert!(said.contains("\"debian\""), "{said}");
    assert_eq!(type_line(&mut app, &format!("xl create {name}")).1, 0);
    assert_eq!(type_line(&mut app, "xl domid debian"), ("6".into(), 0));
}

#[test]
fn requests_wait_for_the_operators_command_and_are_accepted_meanwhile() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    app.host.typed.extend(b"sleep 2\r");
    send(&mut app, &request(1, "xl domid bridge"));
    app.turn();
    let said = responses(&mut app);
    assert_eq!(said[0], Response::Accepted { id: 1 });
    assert_eq!(outcome(&said), ("4\n".into(), String::new(), Some(0)));
    assert!(app.host.seen().ends_with("[0]Domain-0# "));
}

#[test]
fn a_long_command_is_cancelled_and_what_was_typed_meanwhile_runs() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    send(&mut app, &request(1, "sleep 1000000"));
    app.host.line_later = encode(&Request::Cancel { id: 1 });
    app.host.typed.extend(b"echo here\r");
    app.turn();
    assert_eq!(outcome(&responses(&mut app)).2, Some(1));
    assert!(app.host.now < 1_000_000_000_000);
    assert!(app.host.seen().contains("\nhere\n"));
}

#[test]
fn noise_is_answered_and_the_next_request_understood() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    app.host.line_in.extend(b"\xff\x00 noise \x00");
    app.turn();
    let refused = Response::Refused {
        id: None,
        refusal: Refusal::Damaged,
    };
    assert_eq!(responses(&mut app), [refused.clone(), refused]);
    app.host.line_in.extend(b"\x05\x01\x02");
    send(&mut app, &request(1, "xl domid bridge"));
    app.turn();
    let said = responses(&mut app);
    assert_eq!(outcome(&said).0, "4\n");
}

#[test]
fn the_host_uses_a_console_beside_the_operator() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    app.host.says(5, "login: ");
    app.turn();
    app.host.seen();
    send(&mut app, &request(1, "xl console debian"));
    app.turn();
    let said = responses(&mut app);
    assert!(said.contains(&Response::Attached { id: 1 }), "{said:?}");
    assert_eq!(outcome(&said), ("login: ".into(), String::new(), None));
    send(
        &mut app,
        &Request::Input {
            id: 1,
            bytes: b"root\r".to_vec(),
        },
    );
    app.turn();
    assert_eq!(app.host.domains[&5].hears, b"root\r");
    app.host.says(5, "welcome");
    app.turn();
    assert_eq!(outcome(&responses(&mut app)).0, "welcome");
    assert_eq!(type_line(&mut app, "xl domid bridge"), ("4".into(), 0));
    // A guest that goes takes its console along.
    type_line(&mut app, "xl destroy debian");
    assert_eq!(outcome(&responses(&mut app)).2, Some(0));
    assert_eq!(ask(&mut app, &request(2, "xl console bridge")).2, Some(1));
}

#[test]
fn leaving_a_console_ends_the_command() {
    let archive = archive(CFG);
    let mut app = booted(&archive);
    type_line(&mut app, "xl create /etc/xen/debian.cfg");
    send(&mut app, &request(1, "xl console debian"));
    app.turn();
    assert_eq!(outcome(&responses(&mut app)).2, None);
    send(&mut app, &Request::Cancel { id: 1 });
    app.turn();
    assert_eq!(outcome(&responses(&mut app)).2, Some(0));
    // So does another command.
    send(&mut app, &request(2, "xl console debian"));
    app.turn();
    send(&mut app, &request(3, "xl domid debian"));
    app.turn();
    assert_eq!(
        outcome(&responses(&mut app)),
        ("5\n".into(), String::new(), Some(0))
    );
}
