//! The network: a guest through netfront, bridge0, netback and the NIC to the host and back, and guests among themselves.

use anyhow::{Result, bail};

use crate::check;
use crate::guest::Guest;
use crate::net::{Peer, noise, sha256};
use crate::scenario::{HANG, Scenario, Stage};

/// The scenarios of this subject.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "network: DHCP, ping, 64 MiB over TCP each way",
        debian: true,
        play: host_and_guest,
    },
    Scenario {
        name: "network: two guests talk, a third without vif cannot",
        debian: true,
        play: three_guests,
    },
];

/// Bytes that go each way.
const BULK: usize = 64 << 20;

fn host_and_guest(stage: &Stage) -> Result<()> {
    let guest = Guest::new("debian", Some("10.0.2.20"));
    let mut running = stage.boot_guests(std::slice::from_ref(&guest))?;
    running.attach_when_up("debian")?;
    running.guest_address()?;
    check::contains(
        &running.guest("ping -c 5 10.0.2.2")?,
        &["5 packets received, 0% packet loss"],
    )?;
    let bytes = noise(64, BULK);
    let sum = sha256(&bytes);
    let sender = Peer::start(bytes)?;
    let said = running.guest(&format!(
        "nc 10.0.2.2 {} </dev/null >/root/data; sha256sum /root/data",
        sender.port
    ))?;
    check::contains(&said, &[&sum])?;
    sender.received()?;
    let receiver = Peer::start(Vec::new())?;
    running.guest(&format!("nc 10.0.2.2 {} </root/data", receiver.port))?;
    let back = receiver.received()?;
    if sha256(&back) != sum {
        bail!(
            "of {BULK} bytes sent by the guest, {} arrived, and not the same",
            back.len()
        );
    }
    let errors = running.guest(
        "cat /sys/class/net/eth0/statistics/rx_errors /sys/class/net/eth0/statistics/tx_errors",
    )?;
    if errors.split_whitespace().any(|count| count != "0") {
        bail!("eth0 counts errors: {errors}");
    }
    running.detach()?;
    running.power_off()
}

fn three_guests(stage: &Stage) -> Result<()> {
    let one = Guest {
        vcpus: 1,
        memory: 192,
        ..Guest::new("one", Some("10.0.2.21"))
    };
    let two = Guest {
        vcpus: 1,
        memory: 192,
        ..Guest::new("two", Some("10.0.2.22"))
    };
    let three = Guest {
        vcpus: 1,
        memory: 192,
        ..Guest::new("three", None)
    };
    let mut running = stage.boot_guests(&[one, two, three])?;
    running.attach_when_up("one")?;
    let first = running.guest_address()?;
    running.guest("(nc -l -p 5000 >/tmp/heard) & true")?;
    running.guest_until("netstat -l -t -n | grep -q :5000")?;
    running.detach()?;
    running.attach_when_up("two")?;
    let second = running.guest_address()?;
    if first == second {
        bail!("both guests have {first}");
    }
    check::contains(
        &running.guest(&format!("ping -c 3 {first}"))?,
        &["3 packets received, 0% packet loss"],
    )?;
    running.guest(&format!(
        "dd if=/dev/urandom of=/tmp/said bs=64k count=64 2>/dev/null; nc {first} 5000 </tmp/said"
    ))?;
    let said = running.guest("sha256sum </tmp/said")?;
    running.detach()?;
    running.attach("one")?;
    running.guest_until("! ps | grep -q '[n]c -l'")?;
    let heard = running.guest("sha256sum </tmp/heard")?;
    if heard.split_whitespace().next() != said.split_whitespace().next() {
        bail!("two said {said}, one heard {heard}");
    }
    running.detach()?;
    running.attach_when_up("three")?;
    let interfaces = running.guest("ls /sys/class/net")?;
    if interfaces.split_whitespace().ne(["lo"]) {
        bail!("a guest without vif has {interfaces}");
    }
    let answer = running.guest_command(&format!("ping -c 1 -W 2 {first}"), HANG)?;
    if answer.code == 0 {
        bail!("a guest without vif reached {first}:\n{}", answer.text);
    }
    running.detach()?;
    running.power_off()
}
