//! The store as clients see it: through rings, with a machine that is made of shared memory and lists.

mod client;
mod domains;
mod hostile;
mod model;
mod nodes;
mod quotas;
mod rings;
mod transactions;
mod watches;
mod world;
