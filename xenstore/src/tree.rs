//! The nodes.

mod database;
mod node;
mod transaction;
mod view;

pub use database::Database;
pub use node::{Children, Node};
pub use transaction::{Event, Transaction};
pub use view::View;
