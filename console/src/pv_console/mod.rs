//! Backend of the guests' PV consoles.

mod history;
mod ring;

pub use history::{HISTORY_SIZE, History};
pub use ring::{Ring, RingError, RingPage};
