//! Guests' PV consoles: what is taken of their output, and kept. The ring itself is lib/domain's `stream`.

mod budget;
mod history;

pub use budget::Budget;
pub use history::{HISTORY_SIZE, History};
