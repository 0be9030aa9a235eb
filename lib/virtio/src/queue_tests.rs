//! The queue against a device that works, and against one that has gone mad.

use super::*;
use domain::{PageRange, SharedMemory};
use std::collections::HashMap;
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus};

const SIZE: usize = 8;

/// A descriptor: address, length, may it be written?
type Described = (u64, u32, bool);

/// The device's side of one queue, by the specification's split-ring layout (virtio 1.2, 2.7).
#[derive(Default)]
struct Model {
    descriptors: u64,
    driver: u64,
    device: u64,
    seen: u16,
    used: u16,
    notified: usize,
    memory: HashMap<u64, SharedMemory>,
}

fn view(gpa: u64, len: usize) -> SharedMemory {
    let base = core::ptr::NonNull::new(gpa as *mut u8).unwrap();
    // SAFETY: the queue's own memory, which outlives the test; both sides are this thread.
    unsafe { SharedMemory::new(base, len) }
}

impl Model {
    /// The descriptors of the next request: (address, length, may be written).
    fn take(&mut self) -> Option<(u16, Vec<Described>)> {
        let available = view(self.driver, 4 + 2 * SIZE);
        if available.read::<u16>(2).unwrap() == self.seen {
            return None;
        }
        let head = available
            .read::<u16>(4 + 2 * (usize::from(self.seen) % SIZE))
            .unwrap();
        self.seen = self.seen.wrapping_add(1);
        let mut chain = vec![];
        let (mut table, mut at) = (view(self.descriptors, 16 * SIZE), head);
        loop {
            let read = |offset| table.read::<u16>(usize::from(at) * 16 + offset).unwrap();
            let address = table.read::<u64>(usize::from(at) * 16).unwrap();
            let len = table.read::<u32>(usize::from(at) * 16 + 8).unwrap();
            let flags = read(12);
            if flags & 4 != 0 {
                table = view(address, len as usize);
                at = 0;
                continue;
            }
            chain.push((address, len, flags & 2 != 0));
            if flags & 1 == 0 {
                return Some((head, chain));
            }
            at = read(14);
        }
    }

    fn give_back(&mut self, token: u32, written: u32) {
        let ring = view(self.device, 4 + 8 * SIZE);
        let slot = 4 + 8 * (usize::from(self.used) % SIZE);
        ring.write(slot, &token).unwrap();
        ring.write(slot + 4, &written).unwrap();
        self.used = self.used.wrapping_add(1);
        ring.write(2, &self.used).unwrap();
    }

    fn sleep(&self, asleep: bool) {
        view(self.device, 4).write(0, &u16::from(!asleep)).unwrap();
    }

    fn wants_interrupts(&self) -> bool {
        view(self.driver, 4).read::<u16>(0).unwrap() & 1 == 0
    }

    /// A page that the test gives to the device.
    fn page(&mut self) -> Buffer {
        let (gpa, pages) = PageRange::new(1).unwrap().into_raw();
        self.memory.insert(gpa, view(gpa, pages * 4096));
        Buffer { gpa, len: 4096 }
    }
}

impl Transport for Model {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }
    fn read_device_features(&mut self) -> u64 {
        0
    }
    fn write_driver_features(&mut self, _: u64) {}
    fn max_queue_size(&mut self, _: u16) -> u32 {
        256
    }
    fn notify(&mut self, queue: u16) {
        assert_eq!(queue, 3);
        self.notified += 1;
    }
    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }
    fn set_status(&mut self, _: DeviceStatus) {}
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(
        &mut self,
        _: u16,
        size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        assert_eq!(size as usize, SIZE);
        (self.descriptors, self.driver, self.device) = (descriptors, driver, device);
    }
    fn queue_unset(&mut self, _: u16) {}
    fn queue_used(&mut self, _: u16) -> bool {
        false
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }
    fn read_config_generation(&self) -> u32 {
        0
    }
    fn read_config_space<T>(&self, _: usize) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
    fn write_config_space<T>(&mut self, _: usize, _: T) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
}

fn add(queue: &mut Queue<SIZE>, read: &[Buffer], write: &[Buffer]) -> Result<u16, QueueError> {
    // SAFETY: the tests' pages are never freed.
    unsafe { queue.add(read, write) }
}

#[test]
fn buffers_reach_the_device_in_order_and_come_back_in_any() {
    for indirect in [false, true] {
        let mut model = Model::default();
        let mut queue = Queue::<SIZE>::new(&mut model, 3, indirect).unwrap();
        // More rounds than the ring has slots, and than its indexes have bits for slots.
        for round in 0..40u32 {
            let (a, b, c) = (model.page(), model.page(), model.page());
            let first = add(&mut queue, &[a], &[b, c]).unwrap();
            let second = add(&mut queue, &[], &[Buffer { len: 7, ..a }]).unwrap();
            queue.kick(&mut model);
            assert_eq!(model.notified as u32, round + 1, "once for both");
            let (head, chain) = model.take().unwrap();
            assert_eq!(
                (head, chain),
                (
                    first,
                    vec![
                        (a.gpa, 4096, false),
                        (b.gpa, 4096, true),
                        (c.gpa, 4096, true)
                    ]
                )
            );
            let (head, chain) = model.take().unwrap();
            assert_eq!((head, chain), (second, vec![(a.gpa, 7, true)]));
            assert!(queue.pop().is_none() && !queue.has_used());
            model.give_back(second.into(), 7);
            model.give_back(first.into(), round);
            assert_eq!(
                queue.pop(),
                Some(Used {
                    token: second,
                    written: 7
                })
            );
            assert_eq!(
                queue.pop(),
                Some(Used {
                    token: first,
                    written: round
                })
            );
            assert_eq!((queue.pop(), queue.room()), (None, SIZE));
        }
    }
}

#[test]
fn a_full_queue_says_so_and_takes_more_when_something_has_come_back() {
    let mut model = Model::default();
    let mut queue = Queue::<SIZE>::new(&mut model, 3, false).unwrap();
    let page = model.page();
    let tokens: Vec<_> = (0..4)
        .map(|_| add(&mut queue, &[page], &[page]).unwrap())
        .collect();
    assert_eq!(add(&mut queue, &[page], &[]), Err(QueueError::Full));
    model.give_back(tokens[2].into(), 0);
    assert_eq!(queue.pop().map(|used| used.token), Some(tokens[2]));
    assert_eq!(add(&mut queue, &[page; 3], &[]), Err(QueueError::Full));
    add(&mut queue, &[page; 2], &[]).unwrap();
}

#[test]
fn senseless_buffers_are_refused() {
    let mut model = Model::default();
    let mut queue = Queue::<SIZE>::new(&mut model, 3, true).unwrap();
    let page = model.page();
    for bad in [
        Buffer { len: 0, ..page },
        Buffer { gpa: 0, ..page },
        Buffer {
            gpa: u64::MAX - 5,
            ..page
        },
    ] {
        assert_eq!(
            add(&mut queue, &[page, bad], &[]),
            Err(QueueError::Senseless)
        );
        assert_eq!(add(&mut queue, &[], &[bad]), Err(QueueError::Senseless));
    }
    assert_eq!(add(&mut queue, &[], &[]), Err(QueueError::Senseless));
    assert_eq!(
        add(&mut queue, &[page; SIZE], &[page]),
        Err(QueueError::Senseless)
    );
    queue.kick(&mut model);
    assert_eq!((model.notified, model.take()), (0, None));
}

#[test]
fn a_device_that_is_awake_is_not_notified_and_need_not_interrupt() {
    let mut model = Model::default();
    let mut queue = Queue::<SIZE>::new(&mut model, 3, true).unwrap();
    let page = model.page();
    model.sleep(false);
    add(&mut queue, &[page], &[]).unwrap();
    queue.kick(&mut model);
    assert_eq!(model.notified, 0);
    model.sleep(true);
    queue.kick(&mut model);
    assert_eq!(model.notified, 0, "nothing new");
    add(&mut queue, &[page], &[]).unwrap();
    queue.kick(&mut model);
    assert_eq!(model.notified, 1);
    assert!(model.wants_interrupts());
    queue.set_interrupts(false);
    assert!(!model.wants_interrupts());
    queue.set_interrupts(true);
    assert!(model.wants_interrupts());
}

#[test]
fn a_mad_device_is_not_believed() {
    for wrong in [5, 8, 0xffff, 0x1_0000] {
        let mut model = Model::default();
        let mut queue = Queue::<SIZE>::new(&mut model, 3, true).unwrap();
        let page = model.page();
        let token = add(&mut queue, &[page], &[page]).unwrap();
        if wrong == 0x1_0000 {
            // The same twice.
            model.give_back(token.into(), 0);
            assert!(queue.pop().is_some());
            model.give_back(token.into(), 0);
        } else {
            model.give_back(wrong, 0);
        }
        assert_eq!(queue.pop(), None);
        assert!(queue.is_broken() && !queue.has_used());
        assert_eq!(
            (queue.room(), add(&mut queue, &[page], &[])),
            (0, Err(QueueError::Full))
        );
        model.give_back(token.into(), 0);
        assert_eq!(queue.pop(), None);
    }
}
