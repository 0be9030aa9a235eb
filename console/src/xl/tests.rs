//! Tests of the module beside.

use super::*;

#[test]
fn sets_of_cpus() {
    assert_eq!(cpu_set(0b11, 2), "all");
    assert_eq!(cpu_set(u64::MAX, 4), "all");
    assert_eq!(cpu_set(u64::MAX, 64), "all");
    assert_eq!(cpu_set(1, 1), "all");
    assert_eq!(cpu_set(0, 4), "none");
    assert_eq!(cpu_set(0b10, 4), "1");
    assert_eq!(cpu_set(0b1101_1011, 8), "0-1,3-4,6-7");
}

#[test]
fn seconds_are_rounded() {
    assert_eq!(seconds(0), "0.0");
    assert_eq!(seconds(1_249_999_999), "1.2");
    assert_eq!(seconds(1_250_000_000), "1.3");
    assert_eq!(seconds(99_960_000_000), "100.0");
}
