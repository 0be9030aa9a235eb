//! Logic of the xenstore domain.
#![cfg_attr(not(test), no_std)]
