//! Scenario tests: each boots a machine, acts, and checks what came out.
