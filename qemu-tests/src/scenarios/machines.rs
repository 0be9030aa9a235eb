//! Machines that microhv cannot run on: it stops with a sentence that says what is missing.

use anyhow::Result;

use crate::check;
use crate::machine::qemu::{Iommu, Machine};
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "a machine without SVM or VMX",
        debian: false,
        play: |stage| stops(stage, "SVM", |machine| machine.cpu = "max,-svm".into()),
    },
    Scenario {
        name: "a machine without NPT",
        debian: false,
        play: |stage| stops(stage, "NPT", |machine| machine.cpu = "max,+svm,-npt".into()),
    },
    Scenario {
        name: "a machine without IOMMU",
        debian: false,
        play: |stage| stops(stage, "IOMMU", |machine| machine.iommu = Iommu::None),
    },
    Scenario {
        name: "a machine with too little memory",
        debian: false,
        play: |stage| stops(stage, "memory", |machine| machine.memory = 64),
    },
];

/// The machine must say in one sentence with `word` why microhv cannot start on it.
fn stops(stage: &Stage, word: &str, change: fn(&mut Machine)) -> Result<()> {
    let mut machine = stage.machine();
    change(&mut machine);
    let mut running = stage.boot(machine, &stage.archive()?)?;
    running.wait_for("microhv cannot start: ", HANG)?;
    let sentence = running.wait_for("\n", HANG)?;
    check::contains(&sentence, &[word])
}
