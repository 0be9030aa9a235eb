//! The stories that are told about microhv, by subject.

mod boot;

use crate::scenario::Scenario;

/// Every scenario, the quick ones first.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [boot::SCENARIOS].concat()
}
