//! bridge0's own interface: a small IP stack that asks for a lease and answers pings.

use crate::mac::Mac;
use crate::settings::Address;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use smoltcp::iface::{Config, Interface as Stack, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::dhcpv4;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

/// The largest frame it takes.
pub const MAX_FRAME: usize = 1514;
/// Frames that wait in either direction.
const QUEUE: usize = 32;

/// What happened, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The interface has this address now, and this router.
    Address(Ipv4Cidr, Option<core::net::Ipv4Addr>),
    /// The lease is over.
    Lost,
}

/// The interface.
pub struct Interface {
    stack: Stack,
    sockets: SocketSet<'static>,
    queues: Queues,
    dhcp: Option<SocketHandle>,
}

impl core::fmt::Debug for Interface {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Interface")
            .field("dhcp", &self.dhcp.is_some())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queues {
    incoming: VecDeque<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

fn instant(now: Duration) -> Instant {
    Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

impl Interface {
    /// An interface with the Ethernet address `mac`; `seed` makes its transaction numbers hard to guess.
    #[must_use]
    pub fn new(mac: Mac, address: Address, seed: u64, now: Duration) -> Self {
        let mut config = Config::new(EthernetAddress(mac.0).into());
        config.random_seed = seed;
        let mut queues = Queues::default();
        let mut stack = Stack::new(config, &mut queues, instant(now));
        let mut sockets = SocketSet::new(Vec::new());
        let mut dhcp = None;
        match address {
            Address::None => {}
            Address::Dhcp => dhcp = Some(sockets.add(dhcpv4::Socket::new())),
            Address::Fixed { address, prefix } => {
                set_address(&mut stack, Some(Ipv4Cidr::new(address, prefix)))
            }
        }
        Self {
            stack,
            sockets,
            queues,
            dhcp,
        }
    }

    /// A frame for the interface has come in.
    pub fn receive(&mut self, frame: &[u8]) {
        if self.queues.incoming.len() < QUEUE && frame.len() <= MAX_FRAME {
            self.queues.incoming.push_back(frame.to_vec());
        }
    }

    /// A frame that the interface sends.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.queues.outgoing.pop_front()
    }

    /// Lets the stack work; gives what the operator should know.
    pub fn poll(&mut self, now: Duration) -> Option<Event> {
        self.stack
            .poll(instant(now), &mut self.queues, &mut self.sockets);
        let dhcp = self.sockets.get_mut::<dhcpv4::Socket>(self.dhcp?);
        match dhcp.poll()? {
            dhcpv4::Event::Configured(lease) => {
                let (address, router) = (lease.address, lease.router);
                set_address(&mut self.stack, Some(address));
                self.stack.routes_mut().remove_default_ipv4_route();
                if let Some(router) = router {
                    // The table has room for one.
                    let _ = self.stack.routes_mut().add_default_ipv4_route(router);
                }
                Some(Event::Address(address, router))
            }
            dhcpv4::Event::Deconfigured => {
                set_address(&mut self.stack, None);
                self.stack.routes_mut().remove_default_ipv4_route();
                Some(Event::Lost)
            }
        }
    }

    /// When [`Self::poll`] has to be called again, at the latest. The same instant each time while nothing happens, so that
    /// a timer set to it need not be set again.
    pub fn deadline(&mut self, now: Duration) -> Option<Duration> {
        let at = self.stack.poll_at(instant(now), &self.sockets)?;
        Some(Duration::from_micros(
            u64::try_from(at.total_micros()).unwrap_or(0),
        ))
    }
}

fn set_address(stack: &mut Stack, address: Option<Ipv4Cidr>) {
    stack.update_ip_addrs(|addresses| {
        addresses.clear();
        if let Some(address) = address {
            // The list was just emptied.
            let _ = addresses.push(IpCidr::Ipv4(address));
        }
    });
}

struct Received(Vec<u8>);
struct Sender<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Queues {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sender<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sender<'_>)> {
        if self.outgoing.len() >= QUEUE {
            return None;
        }
        Some((
            Received(self.incoming.pop_front()?),
            Sender(&mut self.outgoing),
        ))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sender<'_>> {
        (self.outgoing.len() < QUEUE).then_some(Sender(&mut self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }
}

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sender<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = alloc::vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const MAC: Mac = Mac([2, 0x62, 0x72, 0, 0, 1]);
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn it_asks_for_a_lease() {
        let mut interface = Interface::new(MAC, Address::Dhcp, 1, Duration::ZERO);
        assert_eq!(
            interface.poll(Duration::from_millis(1)),
            Some(Event::Lost),
            "smoltcp's first word"
        );
        let now = Duration::from_secs(1);
        interface.poll(now);
        let frame = interface.transmit().expect("a DHCP discover");
        assert_eq!(&frame[..6], &[0xff; 6]);
        assert_eq!(&frame[6..12], &MAC.0);
        assert_eq!(&frame[34..38], &[0, 68, 0, 67]);
        assert!(interface.deadline(now).is_some());
    }

    fn arp_and_echo(interface: &mut Interface) -> Option<Vec<u8>> {
        let now = Duration::from_secs(2);
        // Who has 192.0.2.1? Tell 192.0.2.2.
        let mut arp = [[0xff; 6], PEER].concat();
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend(PEER);
        arp.extend([192, 0, 2, 2, 0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
        interface.receive(&arp);
        interface.poll(now);
        interface.transmit()?;
        let mut echo = [MAC.0, PEER].concat();
        let mut ip = vec![
            0x45, 0, 0, 32, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1,
        ];
        let sum = packet::checksum::finish(packet::checksum::sum(&ip, 0));
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut icmp = vec![8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4];
        let sum = packet::checksum::finish(packet::checksum::sum(&icmp, 0));
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        echo.extend([8, 0]);
        echo.extend(ip);
        echo.extend(icmp);
        interface.receive(&echo);
        interface.poll(now);
        interface.transmit()
    }

    #[test]
    fn it_answers_pings() {
        let address = Address::Fixed {
            address: Ipv4Addr::new(192, 0, 2, 1),
            prefix: 24,
        };
        let mut interface = Interface::new(MAC, address, 1, Duration::ZERO);
        let reply = arp_and_echo(&mut interface).expect("an echo reply");
        assert_eq!(&reply[..6], &PEER);
        assert_eq!(reply[34], 0);
        assert_eq!(&reply[42..46], &[1, 2, 3, 4]);
    }

    #[test]
    fn it_is_silent_without_an_address() {
        let mut interface = Interface::new(MAC, Address::None, 1, Duration::ZERO);
        assert!(arp_and_echo(&mut interface).is_none());
    }

    #[test]
    fn its_queues_are_bounded() {
        let mut interface = Interface::new(MAC, Address::None, 1, Duration::ZERO);
        for _ in 0..1000 {
            interface.receive(&[0; 100]);
        }
        assert_eq!(interface.queues.incoming.len(), QUEUE);
        interface.receive(&[0; MAX_FRAME + 1]);
    }
}
