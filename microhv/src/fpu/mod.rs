//! Floating-point, vector and debug registers of guests. microhv itself is soft-float and never uses them,
//! so they are switched only when another vCPU gets the CPU.

/// One vCPU's state while it is not on a CPU.
pub struct State {}

impl State {
    /// The state after INIT. `None`: out of memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        Some(Self {})
    }

    /// Puts the state into the CPU.
    pub fn load(&mut self) {}

    /// Takes the state from the CPU.
    pub fn save(&mut self) {}
}

/// Prepares this CPU.
pub fn init() {}
