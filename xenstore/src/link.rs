//! Connections: rings shared with clients, and the loop that serves them.

mod input;
mod pipe;
mod server;

pub use pipe::{Pipe, Ring};
pub use server::{Platform, Server};
