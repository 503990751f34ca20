//! What listings prove, and what they do not.

use chrono::{DateTime, TimeDelta};

use super::*;

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

fn order(n: u32) -> OrderName {
    format!("ty-abcdefgh-{n:026}").parse().unwrap()
}

fn machine(n: u32, id: &str, phase: MachinePhase) -> MachineObservation {
    let (order, id) = (order(n), id.parse().unwrap());
    MachineObservation { order, id, phase, price_per_hour: None, note: None, at: at(0) }
}

fn listed(sightings: &Sightings, seconds: i64, machines: Vec<MachineObservation>) {
    sightings.take(at(seconds), machines, &HashSet::from([order(1)]));
}

fn up(id: &str) -> MachineObservation {
    machine(1, id, MachinePhase::Up)
}

#[test]
fn two_good_listings_after_the_removal_prove_a_machine_gone() {
    let sightings = Sightings::default();
    let gone = || sightings.absent(&order(1), None, at(10), 2);
    assert_eq!(gone(), None, "nothing was listed yet");
    listed(&sightings, 5, vec![up("m1")]);
    listed(&sightings, 9, vec![]);
    listed(&sightings, 11, vec![]);
    assert_eq!(gone(), None, "one of them was begun before");
    sightings.fail(Reason::new("provider_unreachable", "no"));
    assert_eq!(gone(), None, "a failed one proves nothing");
    listed(&sightings, 12, vec![machine(1, "m1", MachinePhase::Gone)]);
    let proof = gone().expect("two");
    assert_eq!(proof.last_shown, Some(at(5)));
    assert_eq!(
        proof.text,
        "2 listings of the provider do not show it (2023-11-14T22:13:31Z, 2023-11-14T22:13:32Z)"
    );
}

#[test]
fn a_machine_that_shows_again_was_not_gone() {
    let sightings = Sightings::default();
    listed(&sightings, 11, vec![]);
    listed(&sightings, 12, vec![up("m1")]);
    listed(&sightings, 13, vec![]);
    assert_eq!(sightings.absent(&order(1), None, at(10), 2), None, "the readings are in a row or nothing");
    listed(&sightings, 14, vec![]);
    assert!(sightings.absent(&order(1), None, at(10), 2).is_some());
    assert!(sightings.was_shown(&order(1), None) && !sightings.was_shown(&order(2), None));
}

#[test]
fn of_two_machines_under_one_name_both_must_go() {
    let sightings = Sightings::default();
    for seconds in [1, 2] {
        listed(&sightings, seconds, vec![up("m2"), machine(1, "m1", MachinePhase::Gone)]);
    }
    let m1 = "m1".parse().unwrap();
    assert!(sightings.absent(&order(1), Some(&m1), at(0), 2).is_some());
    assert_eq!(sightings.absent(&order(1), None, at(0), 2), None);
    assert_eq!(sightings.latest(&order(1), None).map(|m| m.id.to_string()), Some("m2".to_owned()));
    assert_eq!(sightings.latest(&order(1), Some(&m1)).map(|m| m.phase), Some(MachinePhase::Gone));
    assert_eq!(sightings.latest(&order(2), None), None);
    let (m2, m3) = ("m2".parse().unwrap(), "m3".parse().unwrap());
    assert!(sightings.was_shown(&order(1), Some(&m2)));
    assert!(!sightings.was_shown(&order(1), Some(&m3)), "one beside it says nothing of a third");
}

#[test]
fn who_did_not_see_a_machine_come_up_takes_it_for_up_since_its_order() {
    let (sightings, id) = (Sightings::default(), "m1".parse().unwrap());
    let since = |sightings: &Sightings| sightings.up_since(&order(1), &id, at(3));
    listed(&sightings, 10, vec![machine(1, "m1", MachinePhase::Booting)]);
    assert_eq!(since(&sightings), None);
    for seconds in [20, 30] {
        listed(&sightings, seconds, vec![up("m1")]);
        assert_eq!(since(&sightings), Some(at(20)), "it was booting before");
    }
    let later = Sightings::default();
    listed(&later, 30, vec![up("m1")]);
    assert_eq!(since(&later), Some(at(3)));
}

#[test]
fn a_provider_that_stopped_answering_is_not_fresh() {
    let sightings = Sightings::default();
    let patience = Duration::from_secs(3600);
    assert!(!sightings.is_fresh(patience), "it was not asked yet");
    listed(&sightings, 1, vec![]);
    assert!(sightings.is_fresh(patience));
    sightings.fail(Reason::new("provider_unauthorized", "the key was refused"));
    assert!(!sightings.is_fresh(patience));
    assert_eq!(sightings.trouble(), None, "once may be chance");
    sightings.fail(Reason::new("provider_unauthorized", "the key was refused"));
    assert_eq!(sightings.trouble().map(|reason| reason.code), Some("provider_unauthorized".to_owned()));
}

#[test]
fn a_clock_that_jumps_makes_no_machine_old_enough_to_be_missed() {
    let (sightings, settle) = (Sightings::default(), Duration::from_secs(60));
    let begin = Instant::now();
    let truly = |seconds| begin + Duration::from_secs(seconds);
    let list = |ours, true_seconds| {
        sightings.note_clock(at(ours), truly(true_seconds), settle);
        listed(&sightings, ours, vec![]);
    };
    // Ordered at 10, it shows within a minute.
    let lost = |seconds| sightings.absent_at(truly(seconds), &order(1), None, at(70), 2).is_some();
    list(9, 9);
    list(10, 10);
    for second in 11..=13 {
        list(3600 + second, second.unsigned_abs());
    }
    assert!(!lost(13), "only our clock says that an hour has passed");
    list(3672, 72);
    assert!(lost(72), "it had its minute");
    // Set back: what was read in the hour to come proves nothing of now.
    list(75, 75);
    assert!(!lost(136), "one reading is not two");
    list(136, 136);
    assert!(lost(136));
}
