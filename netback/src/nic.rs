//! The network device: its two queues, and the pages it reads and writes.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use domain::{Errno, PageRange, Port};
use netback::assemble::Packet;
use netback::header::{self, Features, Header};
use netback::outgoing::{Device, Outgoing};
use netback::pieces::{MAX_PIECES, Pages, Pieces, part};
use virtio::virtio_drivers::transport::{DeviceType, Transport};
use virtio::{Buffer, OpenError, PciDevice, Queue};

/// Descriptors of each queue.
const QUEUE: usize = 256;
/// Pages of each pool: as many as a netif ring has slots.
pub const POOL: usize = 256;
const PAGE: usize = 4096;
/// Places for what frames bring in memory of their own, a power of two each, at least `outgoing::MAX_START` long.
const STARTS: usize = 128;
const START: usize = 256;
/// With more of the transmit pool than this out of bridge's reach, the device is asked to say when it is done.
const HURRY: usize = 96;
const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

/// Why there is no network.
#[derive(Debug)]
pub enum NicError {
    Open(OpenError),
    Virtio(virtio::virtio_drivers::Error),
    Interrupt(Errno),
    NoMemory,
}

impl fmt::Display for NicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "{error}"),
            Self::Virtio(error) => write!(f, "the device: {error}"),
            Self::Interrupt(errno) => write!(f, "binding an interrupt: {errno}"),
            Self::NoMemory => f.write_str("not enough memory"),
        }
    }
}

impl From<OpenError> for NicError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<virtio::virtio_drivers::Error> for NicError {
    fn from(error: virtio::virtio_drivers::Error) -> Self {
        Self::Virtio(error)
    }
}

/// A frame under way to the device.
struct Sent {
    start: u16,
    pages: heapless::Vec<u16, MAX_PIECES>,
}

/// A frame that came in.
pub struct Received {
    pub page: u16,
    pub offset: u16,
    pub len: u16,
    pub header: Header,
}

/// Pages that bridge fills.
pub struct TransmitPages(pub PageRange);

impl Pages for TransmitPages {
    fn read(&self, page: u16, offset: u16, out: &mut [u8]) {
        if self
            .0
            .memory()
            .read_bytes(usize::from(page) * PAGE + usize::from(offset), out)
            .is_err()
        {
            out.fill(0);
        }
    }

    fn write(&self, page: u16, offset: u16, data: &[u8]) {
        // Pieces lie within the pool: the link has checked.
        let _ = self
            .0
            .memory()
            .write_bytes(usize::from(page) * PAGE + usize::from(offset), data);
    }
}

/// A queue on the heap: it is a good part of the stack's size.
#[inline(never)]
fn new_queue(device: &mut PciDevice, number: u16) -> Result<Box<Queue<QUEUE>>, NicError> {
    Ok(Box::new(Queue::new(device, number, false)?))
}

/// The device.
pub struct Nic {
    // Dropped first: the device is reset before its memory goes.
    device: PciDevice,
    receive: Box<Queue<QUEUE>>,
    transmit: Box<Queue<QUEUE>>,
    /// What the device can do.
    able: Device,
    /// Its address.
    pub mac: [u8; 6],
    _ports: [Port; 2],
    /// Pages for frames that come in; those that neither the device nor bridge has.
    pub receive_pages: PageRange,
    receive_free: Vec<u16>,
    receive_tokens: Vec<u16>,
    /// Pages with frames to send; how many frames (and packets not yet sent) need each.
    pub transmit_pages: TransmitPages,
    users: Vec<u16>,
    returned: Vec<u16>,
    out: usize,
    starts: PageRange,
    starts_free: Vec<u16>,
    sent: Vec<Option<Sent>>,
    waiting: VecDeque<Outgoing>,
}

impl Nic {
    /// Finds the assigned device and sets it up.
    pub fn open() -> Result<Self, NicError> {
        let mut device = PciDevice::open(DeviceType::Network)?;
        let features = device.begin_init(Features::all());
        device.check()?;
        let ports = [
            device.bind_queue(RECEIVE, 0).map_err(NicError::Interrupt)?,
            device
                .bind_queue(TRANSMIT, 1)
                .map_err(NicError::Interrupt)?,
        ];
        let receive = new_queue(&mut device, RECEIVE)?;
        let transmit = new_queue(&mut device, TRANSMIT)?;
        device.finish_init();
        device.check()?;
        let mac = if features.contains(Features::MAC) {
            device.read_config_space(0)?
        } else {
            [2, b'n', b'e', b't', 0, 1]
        };
        let able = Device {
            checksum: features.contains(Features::CSUM),
            segmentation: features.contains(Features::HOST_TSO4),
        };
        let [a, b, c, d, e, g] = mac;
        log::info!(
            "{}: virtio network device, address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}, checksums by {}, TSO by {}",
            device.sbdf(),
            if able.checksum { "device" } else { "driver" },
            if able.segmentation {
                "device"
            } else {
                "driver"
            }
        );
        let pages = |count| PageRange::new(count).ok_or(NicError::NoMemory);
        Ok(Self {
            receive_pages: pages(POOL)?,
            receive_free: (0..POOL as u16).collect(),
            receive_tokens: alloc::vec![0; QUEUE],
            transmit_pages: TransmitPages(pages(POOL)?),
            users: alloc::vec![0; POOL],
            returned: (0..POOL as u16).collect(),
            out: 0,
            starts: pages(STARTS * START / PAGE)?,
            starts_free: (0..STARTS as u16).collect(),
            sent: (0..QUEUE).map(|_| None).collect(),
            waiting: VecDeque::new(),
            _ports: ports,
            device,
            receive,
            transmit,
            able,
            mac,
        })
    }

    /// Lends all free pages to the device.
    #[expect(unsafe_code, reason = "hands memory to the device")]
    pub fn refill(&mut self) {
        while let Some(page) = self.receive_free.last().copied() {
            let gpa = self.receive_pages.gpa() + (usize::from(page) * PAGE) as u64;
            // SAFETY: the page is on the free list, so neither the device nor bridge has it; it is only reached through
            // `SharedMemory` and stays until the device, which is dropped first, has given it back.
            let added = unsafe {
                self.receive.add(
                    &[],
                    &[Buffer {
                        gpa,
                        len: PAGE as u32,
                    }],
                )
            };
            let Ok(token) = added else { break };
            self.receive_free.pop();
            if let Some(place) = self.receive_tokens.get_mut(usize::from(token)) {
                *place = page;
            }
        }
        self.receive.kick(&mut self.device);
    }

    /// A page with a frame that came in is free again.
    pub fn give_back(&mut self, page: u16) {
        self.receive_free.push(page);
    }

    /// The next frame that came in.
    pub fn received(&mut self) -> Option<Received> {
        loop {
            let used = self.receive.pop()?;
            let page = *self.receive_tokens.get(usize::from(used.token))?;
            let written = (used.written as usize).min(PAGE);
            let Some(len) = written.checked_sub(header::LEN).filter(|len| *len >= 14) else {
                self.give_back(page);
                continue;
            };
            let mut bytes = [0; header::LEN];
            if self
                .receive_pages
                .memory()
                .read_bytes(usize::from(page) * PAGE, &mut bytes)
                .is_err()
            {
                return None;
            }
            let header = Header::of_received(&bytes);
            return Some(Received {
                page,
                offset: header::LEN as u16,
                len: len as u16,
                header,
            });
        }
    }

    /// Pages of the transmit pool that bridge can have.
    pub fn take_returned(&mut self) -> Option<u16> {
        let page = self.returned.pop()?;
        self.out += 1;
        Some(page)
    }

    /// Pages that bridge had and will not fill any more.
    pub fn unused(&mut self, page: u16) {
        self.out -= 1;
        self.returned.push(page);
    }

    fn hold(&mut self, page: u16) {
        if let Some(users) = self.users.get_mut(usize::from(page)) {
            *users += 1;
        }
    }

    fn let_go(&mut self, page: u16) {
        if let Some(users) = self.users.get_mut(usize::from(page)) {
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.unused(page);
            }
        }
    }

    fn let_go_all(&mut self, pieces: &Pieces) {
        for piece in pieces {
            self.let_go(piece.page);
        }
    }

    /// Takes a packet to be sent.
    pub fn send(&mut self, packet: Packet) {
        let pieces = packet.pieces.clone();
        for piece in &pieces {
            self.hold(piece.page);
        }
        match Outgoing::new(packet, self.able, &self.transmit_pages) {
            Some(outgoing) => self.waiting.push_back(outgoing),
            None => self.let_go_all(&pieces),
        }
    }

    /// Takes back what the device has sent, and gives it more.
    pub fn pump(&mut self) {
        while let Some(used) = self.transmit.pop() {
            let Some(sent) = self
                .sent
                .get_mut(usize::from(used.token))
                .and_then(Option::take)
            else {
                continue;
            };
            self.starts_free.push(sent.start);
            for page in sent.pages {
                self.let_go(page);
            }
        }
        while self.transmit.room() > MAX_PIECES && !self.starts_free.is_empty() {
            let Some(outgoing) = self.waiting.front_mut() else {
                break;
            };
            let Some(frame) = outgoing.next_frame(&self.transmit_pages) else {
                if let Some(done) = self.waiting.pop_front() {
                    self.let_go_all(&done.pieces);
                }
                continue;
            };
            let rest: Pieces = part(&outgoing.pieces, frame.rest).collect();
            self.transmit_frame(&frame.start, &rest);
        }
        self.transmit.kick(&mut self.device);
    }

    #[expect(unsafe_code, reason = "hands memory to the device")]
    fn transmit_frame(&mut self, start: &[u8], rest: &Pieces) {
        let Some(slot) = self.starts_free.pop() else {
            return;
        };
        let at = usize::from(slot) * START;
        let written = self.starts.memory().write_bytes(at, start);
        let mut buffers = heapless::Vec::<Buffer, { MAX_PIECES + 1 }>::new();
        let _ = buffers.push(Buffer {
            gpa: self.starts.gpa() + at as u64,
            len: start.len() as u32,
        });
        for piece in rest {
            let gpa = self.transmit_pages.0.gpa()
                + (usize::from(piece.page) * PAGE + usize::from(piece.offset)) as u64;
            let _ = buffers.push(Buffer {
                gpa,
                len: piece.len.into(),
            });
        }
        let token = written.ok().and_then(|()| {
            // SAFETY: the slot is taken and the pages are held until the token comes back; both are only reached through
            // `SharedMemory`. The pieces were checked to lie in the pool.
            unsafe { self.transmit.add(&buffers, &[]) }.ok()
        });
        let Some(token) = token else {
            self.starts_free.push(slot);
            return;
        };
        let pages: heapless::Vec<u16, MAX_PIECES> = rest.iter().map(|piece| piece.page).collect();
        for page in &pages {
            self.hold(*page);
        }
        if let Some(place) = self.sent.get_mut(usize::from(token)) {
            *place = Some(Sent { start: slot, pages });
        }
    }

    /// Has the device something for us?
    pub fn has_news(&self) -> bool {
        self.receive.has_used() || self.wants_completions() && self.transmit.has_used()
    }

    /// Are completions needed, rather than welcome at some time?
    fn wants_completions(&self) -> bool {
        !self.waiting.is_empty() || self.users.iter().filter(|users| **users > 0).count() > HURRY
    }

    /// Switches the device's interrupts. After `true`, look at [`Self::has_news`] once more.
    pub fn set_interrupts(&mut self, wanted: bool) {
        self.receive.set_interrupts(wanted);
        let completions = wanted && self.wants_completions();
        self.transmit.set_interrupts(completions);
    }

    /// Has the device gone mad?
    pub fn is_broken(&self) -> bool {
        self.receive.is_broken() || self.transmit.is_broken()
    }
}
