//! States of a xenbus device (`io/xenbus.h`).

/// `enum xenbus_state`, written in decimal to each end's `state` key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum XenbusState {
    /// No such key, or not a state.
    #[default]
    Unknown = 0,
    /// The end exists but has done nothing.
    Initialising = 1,
    /// The backend waits for the frontend's details.
    InitWait = 2,
    /// The frontend published its details.
    Initialised = 3,
    /// In use.
    Connected = 4,
    /// Going away.
    Closing = 5,
    /// Gone.
    Closed = 6,
    /// Changing while connected.
    Reconfiguring = 7,
    /// Changed.
    Reconfigured = 8,
}

impl XenbusState {
    /// The state for a number; numbers out of range are `Unknown`.
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Initialising,
            2 => Self::InitWait,
            3 => Self::Initialised,
            4 => Self::Connected,
            5 => Self::Closing,
            6 => Self::Closed,
            7 => Self::Reconfiguring,
            8 => Self::Reconfigured,
            _ => Self::Unknown,
        }
    }

    /// The state in a store value.
    pub fn parse(value: &[u8]) -> Self {
        core::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim_end_matches('\0').parse().ok())
            .map_or(Self::Unknown, Self::from_number)
    }

    /// The store value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "0",
            Self::Initialising => "1",
            Self::InitWait => "2",
            Self::Initialised => "3",
            Self::Connected => "4",
            Self::Closing => "5",
            Self::Closed => "6",
            Self::Reconfiguring => "7",
            Self::Reconfigured => "8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_round_trip_and_rubbish_is_unknown() {
        for number in 0..9 {
            let state = XenbusState::from_number(number);
            assert_eq!(state as u32, number);
            assert_eq!(XenbusState::parse(state.as_str().as_bytes()), state);
        }
        assert_eq!(XenbusState::parse(b"9"), XenbusState::Unknown);
        assert_eq!(XenbusState::parse(b""), XenbusState::Unknown);
        assert_eq!(XenbusState::parse(&[0xff]), XenbusState::Unknown);
    }
}
