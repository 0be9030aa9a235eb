//! Logic of the console domain.
#![cfg_attr(not(test), no_std)]
