//! Logic of the blkback domain.
#![cfg_attr(not(test), no_std)]
