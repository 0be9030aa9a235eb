//! A store for tests: enough of the protocol for one client with watches, and a back door for everybody else.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use domain::store::{Store, Transport};
use xen_abi::Errno;
use xen_abi::io::xs_wire::*;
use xen_abi::zerocopy::{FromBytes, IntoBytes};

/// The client's own directory.
const HOME: &str = "/local/domain/3";

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Vec<u8>>,
    /// Path as given, token.
    watches: Vec<(String, String)>,
    input: Vec<u8>,
    output: VecDeque<u8>,
    /// Requests served.
    requests: usize,
}

/// The store, seen from behind.
#[derive(Clone, Default)]
pub struct FakeStore(Rc<RefCell<State>>);

fn absolute(path: &str) -> String {
    if path.starts_with('/') {
        path.to_string()
    } else {
        format!("{HOME}/{path}")
    }
}

fn below(path: &str, root: &str) -> bool {
    path == root
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('/'))
}

impl State {
    fn fire(&mut self, path: &str) {
        for (watched, token) in self.watches.clone() {
            if below(path, &absolute(&watched)) {
                let shown = match watched.starts_with('/') {
                    true => path.to_string(),
                    false => path[HOME.len() + 1..].to_string(),
                };
                self.reply(XS_WATCH_EVENT, 0, format!("{shown}\0{token}\0").as_bytes());
            }
        }
    }

    fn reply(&mut self, kind: u32, req_id: u32, payload: &[u8]) {
        let header = XsdSockmsg {
            r#type: kind,
            req_id,
            tx_id: 0,
            len: payload.len() as u32,
        };
        self.output.extend(header.as_bytes());
        self.output.extend(payload);
    }

    fn write(&mut self, path: &str, value: &[u8]) {
        self.nodes.insert(path.to_string(), value.to_vec());
        self.fire(path);
    }

    fn remove(&mut self, path: &str) {
        self.nodes.retain(|node, _| !below(node, path));
        // Watches below what goes fire too.
        let gone: Vec<_> = self
            .watches
            .iter()
            .map(|(watched, _)| absolute(watched))
            .collect();
        self.fire(path);
        for watched in gone
            .iter()
            .filter(|watched| *watched != path && below(watched, path))
        {
            self.fire(watched);
        }
    }

    fn serve(&mut self) {
        while let Ok((header, rest)) = XsdSockmsg::read_from_prefix(&self.input) {
            let Some(payload) = rest.get(..header.len as usize).map(<[u8]>::to_vec) else {
                return;
            };
            self.input.drain(..size_of::<XsdSockmsg>() + payload.len());
            self.requests += 1;
            let mut parts = payload.splitn(2, |byte| *byte == 0);
            let given = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
            let value = parts.next().unwrap_or(&[]);
            let path = absolute(&given);
            let result: Result<Vec<u8>, &str> = match header.r#type {
                XS_READ => self.nodes.get(&path).cloned().ok_or("ENOENT"),
                XS_WRITE => {
                    self.write(&path, value);
                    Ok(b"OK\0".to_vec())
                }
                XS_DIRECTORY => {
                    let prefix = format!("{path}/");
                    let mut names: Vec<_> = self
                        .nodes
                        .keys()
                        .filter_map(|node| node.strip_prefix(&prefix))
                        .collect();
                    names = names
                        .iter()
                        .map(|name| name.split('/').next().unwrap())
                        .collect();
                    names.dedup();
                    match names.is_empty() {
                        true => Err("ENOENT"),
                        false => Ok(names
                            .iter()
                            .flat_map(|name| [name.as_bytes(), b"\0"].concat())
                            .collect()),
                    }
                }
                XS_WATCH => {
                    let token =
                        String::from_utf8(value.strip_suffix(b"\0").unwrap().to_vec()).unwrap();
                    self.watches.push((given.clone(), token.clone()));
                    self.reply(XS_WATCH, header.req_id, b"OK\0");
                    self.reply(XS_WATCH_EVENT, 0, format!("{given}\0{token}\0").as_bytes());
                    continue;
                }
                XS_UNWATCH => {
                    let token =
                        String::from_utf8(value.strip_suffix(b"\0").unwrap().to_vec()).unwrap();
                    self.watches
                        .retain(|watch| *watch != (given.clone(), token.clone()));
                    Ok(b"OK\0".to_vec())
                }
                other => panic!("request {other}"),
            };
            match result {
                Ok(payload) => self.reply(header.r#type, header.req_id, &payload),
                Err(name) => self.reply(XS_ERROR, header.req_id, format!("{name}\0").as_bytes()),
            }
        }
    }
}

impl Transport for FakeStore {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut state = self.0.borrow_mut();
        state.input.extend(bytes);
        state.serve();
        Ok(bytes.len())
    }
    fn receive(&mut self, out: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.0.borrow_mut();
        let count = out.len().min(state.output.len());
        for (to, from) in out.iter_mut().zip(state.output.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
    fn wait(&mut self) -> Result<(), Errno> {
        panic!("the store has answered everything: nothing to wait for")
    }
    fn rearm(&mut self, _: bool) {}
    fn port(&self) -> u32 {
        1
    }
}

impl FakeStore {
    /// The client's connection.
    pub fn client(&self) -> Store {
        Store::over(Box::new(self.clone()))
    }
    /// As another domain.
    pub fn set(&self, path: &str, value: impl ToString) {
        self.0
            .borrow_mut()
            .write(path, value.to_string().as_bytes());
    }
    /// As another domain.
    pub fn get(&self, path: &str) -> Option<String> {
        self.0
            .borrow()
            .nodes
            .get(path)
            .map(|value| String::from_utf8(value.clone()).unwrap())
    }
    /// As another domain.
    pub fn remove(&self, path: &str) {
        self.0.borrow_mut().remove(path);
    }
    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.0.borrow().watches.len()
    }
}
