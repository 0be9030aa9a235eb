//! Guests' PV consoles: what is kept of their output. The ring itself is lib/domain's `stream`.

mod history;

pub use history::{HISTORY_SIZE, History};
