//! The runtime of microhv's own domains.
#![cfg_attr(not(test), no_std)]
