//! loader.conf and xl.cfg.
#![cfg_attr(not(test), no_std)]
