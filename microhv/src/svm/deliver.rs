//! How interrupts reach the guest: as virtual interrupts (V_IRQ), not through EVENTINJ.
//!
//! QEMU's TCG delivers an interrupt of EVENTINJ, but forgets to forget it: if another thread asks the CPU to leave its
//! loop before the next exit, the same interrupt is delivered once more, with RFLAGS.IF clear or not (its
//! `helper_vmrun` leaves `exception_index` set; seen in 7.2). The guest then finds its locks taken by itself. A virtual
//! interrupt is the other way that the manual describes (AMD64 manual, volume 2, 15.21.4), and right everywhere. An
//! interrupt of the host that comes first leaves it pending: it is then taken back and offered again.

use super::vmcb::{Intercept1, Vmcb, v_intr};

/// Writes of CR8, in [`Vmcb::intercept_cr`].
pub const INTERCEPT_WRITE_CR8: u32 = 1 << 24;

/// Offers interrupt `vector` to the guest, which takes it with its next instruction (`at_once`) or when it can.
///
/// There is one virtual interrupt only. If it was asked for as a window for others, these wait for the exit at
/// the end of this interrupt's handler.
pub fn request(vmcb: &mut Vmcb, vector: u8, at_once: bool) {
    if at_once && vmcb.v_intr & v_intr::V_IRQ != 0 {
        vmcb.intercept_1.insert(Intercept1::IRET);
    }
    vmcb.intercept_1.remove(Intercept1::VINTR);
    vmcb.intercept_cr |= INTERCEPT_WRITE_CR8;
    vmcb.v_intr = vmcb.v_intr & !v_intr::V_INTR_VECTOR | v_intr::REQUEST | u64::from(vector) << 32;
}

/// Takes back what [`request`] offered, after an exit: the vector, if the guest has not taken it.
pub fn take_back(vmcb: &mut Vmcb) -> Option<u8> {
    let left = vmcb.v_intr & v_intr::V_IRQ != 0;
    vmcb.v_intr &= !v_intr::REQUEST;
    left.then_some((vmcb.v_intr >> 32) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::PageBox;

    #[test]
    fn an_interrupt_that_was_not_taken_comes_back() {
        let mut vmcb = PageBox::<Vmcb>::new_zeroed().unwrap();
        vmcb.v_intr = v_intr::V_INTR_MASKING | 5;
        request(&mut vmcb, 0xf3, true);
        assert_eq!(vmcb.v_intr >> 32, 0xf3);
        assert_eq!(vmcb.v_intr & v_intr::REQUEST, v_intr::REQUEST);
        assert!(vmcb.intercept_1.is_empty(), "nobody waits");
        assert_eq!(take_back(&mut vmcb), Some(0xf3));
        assert_eq!(vmcb.v_intr as u32, (v_intr::V_INTR_MASKING | 5) as u32);
        request(&mut vmcb, 0x30, true);
        vmcb.v_intr &= !v_intr::V_IRQ; // As the CPU does when the guest takes it.
        assert_eq!(take_back(&mut vmcb), None);
    }

    #[test]
    fn others_that_wait_look_again_at_the_end_of_the_handler() {
        let mut vmcb = PageBox::<Vmcb>::new_zeroed().unwrap();
        vmcb.v_intr = v_intr::REQUEST;
        vmcb.intercept_1 = Intercept1::VINTR;
        request(&mut vmcb, 0x30, true);
        assert_eq!(vmcb.intercept_1, Intercept1::IRET);
        // Not if it is unknown when it is taken: the next IRET may be another handler's.
        let mut vmcb = PageBox::<Vmcb>::new_zeroed().unwrap();
        vmcb.v_intr = v_intr::REQUEST;
        request(&mut vmcb, 0x30, false);
        assert!(vmcb.intercept_1.is_empty());
    }
}
