//! What the operator types and sees.

mod line;
mod words;

pub use line::{LineEditor, LineEvent};
pub use words::{WordsError, words};
