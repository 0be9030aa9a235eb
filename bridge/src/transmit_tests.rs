use super::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

const GUEST: DomId = 5;

fn request(gref: u32, offset: u16, size: u16, flags: NettxFlags, id: u16) -> [u8; SLOT] {
    let request = NetifTxRequest {
        gref,
        offset,
        flags,
        id,
        size,
    };
    request.as_bytes().try_into().unwrap()
}

fn extra(info: NetifExtraInfo) -> [u8; SLOT] {
    let mut slot = [0xaa; SLOT];
    slot[..8].copy_from_slice(info.as_bytes());
    slot
}

fn assemble(slots: &[[u8; SLOT]]) -> Result<Option<Complete>, Fatal> {
    let mut assembler = Assembler::new(GUEST);
    let (last, before) = slots.split_last().unwrap();
    for slot in before {
        assert_eq!(assembler.push(slot)?, None);
    }
    assembler.push(last)
}

#[test]
fn one_slot_is_a_packet() {
    let complete = assemble(&[request(7, 100, 60, NettxFlags::empty(), 3)])
        .unwrap()
        .unwrap();
    let packet = complete.packet.unwrap();
    assert_eq!(
        packet.fragments.as_slice(),
        &[Fragment::granted(GUEST, 7, 100, 60)]
    );
    assert_eq!((packet.len, packet.offload), (60, Offload::default()));
    assert_eq!(complete.answers.as_slice(), &[Some(3)]);
}

#[test]
fn the_first_slots_own_size_is_what_the_rest_leaves() {
    let flags = NettxFlags::MORE_DATA | NettxFlags::CSUM_BLANK | NettxFlags::EXTRA_INFO;
    let complete = assemble(&[
        request(7, 10, 5000, flags, 1),
        extra(NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV4, 1448)),
        request(8, 0, 4000, NettxFlags::MORE_DATA, 2),
        request(9, 96, 900, NettxFlags::empty(), 3),
    ])
    .unwrap()
    .unwrap();
    let packet = complete.packet.unwrap();
    assert_eq!(
        packet.fragments.as_slice(),
        &[
            Fragment::granted(GUEST, 7, 10, 100),
            Fragment::granted(GUEST, 8, 0, 4000),
            Fragment::granted(GUEST, 9, 96, 900)
        ]
    );
    assert_eq!(packet.len, 5000);
    assert!(packet.offload.checksum_blank);
    assert_eq!(
        packet.offload.segmentation,
        Some(Segmentation { size: 1448 })
    );
    assert_eq!(
        complete.answers.as_slice(),
        &[Some(1), None, Some(2), Some(3)]
    );
}

#[test]
fn wrong_sizes_cost_the_packet() {
    let reject = |slots: &[[u8; SLOT]]| assemble(slots).unwrap().unwrap().packet.unwrap_err();
    let more = NettxFlags::MORE_DATA;
    let none = NettxFlags::empty();
    assert_eq!(reject(&[request(1, 0, 13, none, 0)]), Reject::Size);
    assert_eq!(reject(&[request(1, 0, 0, none, 0)]), Reject::Size);
    assert_eq!(
        reject(&[request(1, 4000, 97, none, 0)]),
        Reject::CrossesPage
    );
    assert_eq!(
        reject(&[request(1, 0xffff, 97, none, 0)]),
        Reject::CrossesPage
    );
    assert_eq!(reject(&[request(1, 0, 5000, none, 0)]), Reject::CrossesPage);
    assert_eq!(
        reject(&[request(1, 0, 100, more, 0), request(2, 0, 100, none, 0)]),
        Reject::Size,
        "nothing is left"
    );
    assert_eq!(
        reject(&[request(1, 0, 100, more, 0), request(2, 0, 200, none, 0)]),
        Reject::Size
    );
    assert_eq!(
        reject(&[request(1, 0, 1000, more, 0), request(2, 4095, 2, none, 0)]),
        Reject::CrossesPage
    );
}

#[test]
fn too_many_slots_cost_the_packet_then_the_port() {
    let slots = |count: usize| {
        let mut slots = vec![request(1, 0, 2000, NettxFlags::MORE_DATA, 0); count];
        for slot in &mut slots[1..] {
            *slot = request(1, 0, 10, NettxFlags::MORE_DATA, 0);
        }
        slots[count - 1] = request(1, 0, 10, NettxFlags::empty(), 9);
        slots
    };
    assert!(assemble(&slots(18)).unwrap().unwrap().packet.is_ok());
    let complete = assemble(&slots(20)).unwrap().unwrap();
    assert_eq!(complete.packet, Err(Reject::Slots));
    assert_eq!(complete.answers.len(), 20);
    assert_eq!(assemble(&slots(21)), Err(Fatal::Slots));
}

#[test]
fn extra_info_is_checked() {
    let first = request(
        1,
        0,
        100,
        NettxFlags::EXTRA_INFO | NettxFlags::CSUM_BLANK,
        0,
    );
    let reject = |info| {
        assemble(&[first, extra(info)])
            .unwrap()
            .unwrap()
            .packet
            .unwrap_err()
    };
    assert_eq!(
        reject(NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV4, 0)),
        Reject::Segmentation
    );
    assert_eq!(
        reject(NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV6, 1000)),
        Reject::Segmentation
    );
    let mut info = NetifExtraInfo {
        r#type: XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
        ..NetifExtraInfo::default()
    };
    assert_eq!(reject(info), Reject::Extra);
    info.r#type = 77;
    assert_eq!(reject(info), Reject::Extra);
    let plain = request(1, 0, 100, NettxFlags::EXTRA_INFO, 0);
    let gso = extra(NetifExtraInfo::gso(XEN_NETIF_GSO_TYPE_TCPV4, 1000));
    assert_eq!(
        assemble(&[plain, gso]).unwrap().unwrap().packet,
        Err(Reject::Segmentation)
    );
    info.r#type = XEN_NETIF_EXTRA_TYPE_HASH;
    info.flags = ExtraFlags::MORE;
    assert_eq!(
        assemble(&[
            first,
            extra(info),
            extra(info),
            extra(info),
            extra(info),
            extra(info)
        ]),
        Err(Fatal::Extras)
    );
}

#[test]
fn the_next_packet_starts_afresh() {
    let mut assembler = Assembler::new(GUEST);
    assembler
        .push(&request(1, 0, 5, NettxFlags::empty(), 1))
        .unwrap()
        .unwrap()
        .packet
        .unwrap_err();
    assembler
        .push(&request(1, 0, 64, NettxFlags::empty(), 2))
        .unwrap()
        .unwrap()
        .packet
        .unwrap();
}

proptest! {
    #[test]
    fn whatever_a_frontend_writes_a_packet_is_sound(slots in prop::collection::vec(any::<[u8; SLOT]>(), 1..200)) {
        let mut assembler = Assembler::new(GUEST);
        let mut answered = 0;
        for slot in &slots {
            match assembler.push(slot) {
                Err(_) => return Ok(()),
                Ok(None) => {}
                Ok(Some(complete)) => {
                    answered += complete.answers.len();
                    if let Ok(packet) = complete.packet {
                        let sum: usize = packet.fragments.iter().map(|f| usize::from(f.len)).sum();
                        prop_assert_eq!(sum, packet.len);
                        prop_assert!(packet.len >= 14);
                        prop_assert!(packet.fragments.iter().all(|f| usize::from(f.offset) + usize::from(f.len) <= 4096));
                    }
                }
            }
        }
        prop_assert!(answered <= slots.len());
    }
}
