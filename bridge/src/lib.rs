//! Logic of the bridge domain.
#![cfg_attr(not(test), no_std)]
