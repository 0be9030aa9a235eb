//! Logic of the netback domain.
#![cfg_attr(not(test), no_std)]
