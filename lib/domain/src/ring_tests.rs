use super::*;
use crate::shared::tests::leaked;
use proptest::prelude::*;

type Back<'a> = BackRing<[u32; 3], u32, &'a SharedMemory>;
type Front<'a> = FrontRing<[u32; 3], u32, &'a SharedMemory>;

fn pair(memory: &SharedMemory) -> (Front<'_>, Back<'_>) {
    (Front::init(memory).unwrap(), Back::attach(memory).unwrap())
}

#[test]
fn requests_and_responses_cross() {
    let memory = leaked(4096);
    let (mut front, mut back) = pair(&memory);
    assert_eq!(front.size(), 256);
    for round in 0..1000_u32 {
        front.push_request(&[round, 2, 3]).unwrap();
        front.flush();
        assert_eq!(back.next_request(), Ok(Some([round, 2, 3])));
        assert_eq!(back.next_request(), Ok(None));
        back.push_response(&(round * 7)).unwrap();
        back.flush();
        assert_eq!(front.next_response(), Ok(Some(round * 7)));
        assert_eq!(front.next_response(), Ok(None));
    }
}

#[test]
fn a_full_ring_says_so() {
    let memory = leaked(4096);
    let (mut front, mut back) = pair(&memory);
    for _ in 0..256 {
        front.push_request(&[0; 3]).unwrap();
    }
    assert_eq!(front.push_request(&[0; 3]), Err(RingError::Full));
    assert_eq!(
        back.push_response(&0),
        Err(RingError::Full),
        "no request was taken"
    );
    front.flush();
    assert_eq!(back.unconsumed(), Ok(256));
    for _ in 0..256 {
        back.next_request().unwrap().unwrap();
    }
    assert_eq!(back.unconsumed(), Ok(0));
    assert_eq!(back.outstanding(), 256);
}

#[test]
fn notifications_only_where_asked_for() {
    let memory = leaked(4096);
    let (mut front, mut back) = pair(&memory);
    front.push_request(&[0; 3]).unwrap();
    assert!(front.flush(), "the first request wakes the backend");
    front.push_request(&[0; 3]).unwrap();
    assert!(!front.flush(), "the backend is awake");
    assert!(!front.flush(), "nothing new");
    back.next_request().unwrap();
    back.next_request().unwrap();
    assert_eq!(back.more_requests(), Ok(false));
    front.push_request(&[0; 3]).unwrap();
    assert!(front.flush(), "the backend sleeps");
    assert_eq!(back.more_requests(), Ok(true));
}

#[test]
fn a_new_backend_continues_where_the_old_one_stopped() {
    let memory = leaked(4096);
    let (mut front, mut back) = pair(&memory);
    for request in 0..3 {
        front.push_request(&[request; 3]).unwrap();
    }
    front.flush();
    back.next_request().unwrap();
    back.next_request().unwrap();
    back.push_response(&10).unwrap();
    back.flush();
    let mut restarted = Back::attach(&memory).unwrap();
    assert_eq!(
        restarted.next_request(),
        Ok(Some([1; 3])),
        "taken but unanswered: seen again"
    );
    assert_eq!(front.next_response(), Ok(Some(10)));
}

#[test]
fn a_producer_that_goes_backwards_is_an_overrun() {
    let memory = leaked(4096);
    let (mut front, mut back) = pair(&memory);
    for _ in 0..5 {
        front.push_request(&[0; 3]).unwrap();
    }
    front.flush();
    for _ in 0..5 {
        back.next_request().unwrap().unwrap();
    }
    memory.write(REQ_PROD, &3_u32).unwrap();
    let overrun = RingError::Overrun {
        producer: 3,
        consumer: 5,
    };
    assert_eq!(back.next_request(), Err(overrun));
    assert_eq!(back.more_requests(), Err(overrun));
}

#[test]
fn memory_too_small_for_a_slot_is_refused() {
    let memory = leaked(72);
    assert_eq!(Back::attach(&memory).err(), Some(RingError::TooSmall));
}

proptest! {
    #[test]
    fn a_hostile_frontend_gets_at_most_a_ring_of_requests(indexes in proptest::collection::vec(any::<u32>(), 1..20)) {
        let memory = leaked(4096);
        let (_, mut back) = pair(&memory);
        for producer in indexes {
            memory.write(REQ_PROD, &producer).unwrap();
            let mut taken = 0;
            while let Ok(Some(_)) = back.next_request() {
                taken += 1;
                prop_assert!(taken <= 256);
            }
            prop_assert!(back.outstanding() <= 256);
            if producer.wrapping_sub(back.rsp_prod_pvt) > 256 {
                let overrun = matches!(back.unconsumed(), Err(RingError::Overrun { .. }));
                prop_assert!(overrun);
            }
        }
    }

    #[test]
    fn a_hostile_backend_answers_no_more_than_was_asked(asked in 0_u32..300, producer: u32) {
        let memory = leaked(4096);
        let mut front = Front::init(&memory).unwrap();
        let mut pushed = 0;
        for _ in 0..asked {
            pushed += u32::from(front.push_request(&[0; 3]).is_ok());
        }
        front.flush();
        memory.write(RSP_PROD, &producer).unwrap();
        let mut got = 0;
        while let Ok(Some(_)) = front.next_response() {
            got += 1;
        }
        prop_assert!(got <= pushed);
        prop_assert_eq!(got > 0, producer > 0 && producer <= pushed);
        prop_assert!(front.free_requests() <= 256);
    }

    #[test]
    fn honest_ends_never_lose_a_wake_up(steps in proptest::collection::vec(0_u8..6, 0..200)) {
        let memory = leaked(4096);
        let (mut front, mut back) = pair(&memory);
        // `backend_asleep` without a notification while requests wait would be a hang.
        let (mut backend_asleep, mut notified) = (true, false);
        for step in steps {
            match step {
                0 | 1 => drop(front.push_request(&[1; 3])),
                2 => notified |= front.flush(),
                3 if !backend_asleep => while back.next_request().unwrap().is_some() { back.push_response(&1).unwrap(); },
                4 if !backend_asleep => {
                    back.flush();
                    while front.next_response().unwrap().is_some() {}
                    backend_asleep = !back.more_requests().unwrap();
                    if backend_asleep { notified = false; }
                }
                _ => if notified { backend_asleep = false; },
            }
            prop_assert!(!backend_asleep || notified || back.unconsumed().unwrap() == 0);
        }
    }
}
