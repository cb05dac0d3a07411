//! The record: what is written is read again, what is not a record is refused, and a grant notes where
//! lineages ended no further than the granted data is known to reach.

mod nodes;
mod observed;

use nodes::{endpoint, following, name, parked, replid, run_id, vitals};
use observed::{known, state};
use topology::grant::Grant;
use topology::heartbeat::AWAY_MIN_MS;
use topology::observation::{Observation, Role, Vitals};
use topology::plan::Right;
use topology::record::{
    Away, CHAIN_MAX, DISCARDS_MAX, FORMAT, Granted, Heartbeat, Intent, LEAVING_MAX, Party, PastLineage,
    Record, Seen, SeenRole, UsedDiscard, Wanted,
};
use topology::{Discard, Document};

fn wanted(master: &str, slaves: &[&str]) -> Wanted {
    let slaves = slaves.iter().map(|slave| name(slave)).collect();
    Wanted {
        document: Document { master: name(master), slaves, groups: Vec::new(), discard: Vec::new() },
        revision: Some(7),
    }
}

fn discard(node: &str) -> Discard {
    Discard { node: name(node), run_id: run_id(node).0 }
}

fn seen(node: &str, role: SeenRole, lineage: &str, offset: u64) -> Seen {
    Seen { node: name(node), run_id: run_id(node), role, replid: replid(lineage), offset }
}

fn party(node: &str) -> Party {
    Party { node: name(node), endpoint: endpoint(node), run_id: run_id(node) }
}

/// A record with something in every field.
fn full() -> Record {
    Record {
        format: FORMAT,
        sequence: 12,
        wanted: Some(wanted("a", &["b", "10.0.0.4:6379"])),
        generation: 9,
        granted: Some(Granted {
            node: name("a"),
            endpoint: endpoint("a"),
            run_id: run_id("a"),
            replid: replid("R1"),
            anew: false,
        }),
        intent: Some(Intent {
            generation: 10,
            from: Some(party("a")),
            to: party("b"),
            replid: replid("R1"),
            wanted: wanted("b", &["a"]),
        }),
        chain: [PastLineage { replid: replid("R0"), end: 55, anew: false }].into(),
        discards: [
            UsedDiscard { discard: discard("c"), spent: true },
            UsedDiscard { discard: discard("d"), spent: false },
        ]
        .into(),
        leaving: vec![name("e")],
        joining: vec![name("f")],
        heartbeat: Heartbeat {
            at_unix_ms: 1_763_700_000_000,
            nodes: vec![seen("a", SeenRole::Master, "R1", 100), seen("b", SeenRole::Slave, "R1", 90)],
            away: vec![Away {
                node: name("c"),
                since_unix_ms: 1_763_600_000_000,
                until_unix_ms: 1_763_700_000_000,
            }],
        },
    }
}

// === text ===

#[test]
fn a_record_is_read_as_it_was_written() {
    for record in [Record::default(), full()] {
        assert_eq!(Record::from_json(record.to_json().as_bytes()), Ok(record));
    }
}

#[test]
fn a_record_that_was_cut_off_anywhere_is_refused() {
    let text = full().to_json();
    for end in 0..text.len() - 1 {
        let error = Record::from_json(&text.as_bytes()[..end]).expect_err("a part is no record");
        assert!(error.starts_with("not a record: "), "{end} bytes: {error}");
    }
}

#[test]
fn a_record_of_another_format_is_refused_by_its_number() {
    for (format, shown) in [(0, "format 0"), (2, "format 2"), (u32::MAX, "format 4294967295")] {
        let record = Record { format, ..full() };
        let error = Record::from_json(record.to_json().as_bytes()).expect_err("another format");
        assert!(error.contains(shown), "{error}");
    }
}

#[test]
fn a_field_that_nobody_knows_is_refused_wherever_it_is() {
    // A later version may have meant something by it that must not be lost by writing the record again.
    let text = serde_json::to_value(full()).expect("JSON");
    let places = [
        "",
        "/wanted",
        "/wanted/document",
        "/granted",
        "/intent",
        "/intent/to",
        "/intent/wanted",
        "/chain/0",
        "/discards/0",
        "/heartbeat",
        "/heartbeat/nodes/0",
        "/heartbeat/away/0",
    ];
    for place in places {
        let mut changed = text.clone();
        let object = changed.pointer_mut(place).and_then(serde_json::Value::as_object_mut);
        object.unwrap_or_else(|| panic!("an object at `{place}`")).insert("later".to_owned(), 1.into());
        let error = Record::from_json(changed.to_string().as_bytes()).expect_err("an unknown field");
        assert!(error.contains("later"), "{place}: {error}");
    }
}

#[test]
fn a_field_that_is_missing_is_refused() {
    let text = serde_json::to_value(full()).expect("JSON");
    let fields = ["format", "sequence", "generation", "chain", "discards", "leaving", "heartbeat"];
    for field in fields {
        let mut changed = text.clone();
        changed.as_object_mut().expect("an object").remove(field);
        let error = Record::from_json(changed.to_string().as_bytes()).expect_err("a missing field");
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn what_is_no_record_is_refused() {
    for text in ["", "null", "[]", "{}", "0", "\"record\"", "{} {}", "\u{0}\u{0}\u{0}"] {
        assert!(Record::from_json(text.as_bytes()).is_err(), "{text:?}");
    }
    let twice = format!("{}{}", full().to_json(), full().to_json());
    assert!(Record::from_json(twice.as_bytes()).is_err(), "two records are none");
}

#[test]
fn a_discard_is_written_as_in_a_document_and_read_as_the_same_life() {
    let run_id = "0123456789abcdef0123456789abcdef01234567";
    for (node, text) in [
        ("b", format!(r#"{{"address":"b","run_id":"{run_id}"}}"#)),
        ("10.0.0.4:6379", format!(r#"{{"address":"10.0.0.4","port":6379,"run_id":"{run_id}"}}"#)),
    ] {
        let discard = Discard { node: name(node), run_id: run_id.to_owned() };
        assert_eq!(serde_json::to_string(&discard).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<Discard>(&text).expect("a discard"), discard);
        // The entry that a refusal prints is taken as it is.
        let document = format!(r#"{{"master":{{"address":"a"}},"slaves":[],"discard":[{text}]}}"#);
        let parsed = Document::parse(document.as_bytes(), 8).expect("a document");
        assert_eq!(parsed.document.discard, [discard]);
    }
}

// === bounds ===

#[test]
fn the_record_stays_small() {
    let mut record = Record::default();
    for number in 0..CHAIN_MAX as u64 + 5 {
        record.end_lineage(replid(&format!("R{number}")), number);
    }
    assert_eq!(record.chain.len(), CHAIN_MAX);
    assert_eq!(record.end_of(&replid("R4")), None, "the oldest went first");
    assert_eq!(record.end_of(&replid("R5")), Some(5));

    for number in 0..DISCARDS_MAX + 5 {
        let mut wanted = wanted("a", &[]);
        let run_id = format!("run-{number}");
        wanted.document.discard = vec![Discard { node: name("b"), run_id }];
        granted_to(&mut record, "a", &lone_master("a"), Right::Replacement, &wanted, &[]);
    }
    assert_eq!(record.discards.len(), DISCARDS_MAX);

    for number in 0..LEAVING_MAX + 5 {
        record.put_in_force(&wanted("a", &[&format!("n{number}")]));
    }
    assert!(record.leaving.len() <= LEAVING_MAX);
}

#[test]
fn a_lineage_that_ends_again_keeps_its_place_in_the_chain() {
    let mut record = Record::default();
    record.end_lineage(replid("R1"), 10);
    record.end_lineage(replid("R2"), 20);
    record.end_lineage(replid("R1"), 30);
    let chain: Vec<(&str, u64)> =
        record.chain.iter().map(|past| (past.replid.0.as_str(), past.end)).collect();
    assert_eq!(chain, [("R1", 30), ("R2", 20)]);
}

// === grants ===

fn lone_master(node: &str) -> Vitals {
    Vitals { replid: replid("own"), offset: 0, ..vitals(node, Role::Master) }
}

fn granted_to(
    record: &mut Record,
    node: &str,
    vitals: &Vitals,
    right: Right,
    wanted: &Wanted,
    others: &[(&str, Vitals)],
) {
    let mut observation = Observation::default();
    observation.nodes.insert(name(node), known(endpoint(node), state(1, vitals.clone())));
    for (other, vitals) in others {
        observation.nodes.insert(name(other), known(endpoint(other), state(2, vitals.clone())));
    }
    let (node, endpoint) = (name(node), endpoint(node));
    let grant =
        Grant { node: &node, endpoint, vitals, right, wanted, arrived: true, observation: &observation };
    record.grant(&grant);
}

/// `a` was granted on R1 and seen at 100; `b` was seen at 90, `c` at 95.
fn before() -> Record {
    let mut record = full();
    record.intent = None;
    record.chain.clear();
    record.discards.clear();
    record.heartbeat.nodes.push(seen("c", SeenRole::Slave, "R1", 95));
    record
}

fn parked_at(node: &str, lineage: &str, offset: u64) -> Vitals {
    Vitals { replid: replid(lineage), ..vitals(node, Role::Slave(parked(offset))) }
}

#[test]
fn a_hand_over_ends_the_lineage_where_the_target_took_over() {
    let mut record = before();
    record.intent = full().intent;
    let target = Vitals {
        replid: replid("R2"),
        replid2: Some(replid("R1")),
        second_offset: Some(131),
        offset: 130,
        ..vitals("b", Role::Master)
    };
    let right = Right::HandedOver { frozen: 130 };
    granted_to(&mut record, "b", &target, right, &wanted("b", &["a"]), &[("a", parked_at("a", "R1", 130))]);
    assert_eq!((record.generation, &record.intent), (10, &None));
    assert_eq!(record.end_of(&replid("R1")), Some(130));
    let old = record.heartbeat.seen(&name("a")).expect("the old master");
    assert_eq!(
        (old.role, old.offset),
        (SeenRole::Slave, 130),
        "it holds no more, in whatever life it returns"
    );
    assert_eq!(record.granted.expect("a grant").run_id, run_id("b"));
}

#[test]
fn a_master_that_resumed_without_its_lineage_counts_those_it_was_compared_with() {
    let mut record = before();
    let master = lone_master("a");
    let right = Right::Resumed { provable: false };
    let others = [("b", parked_at("b", "R1", 120))];
    granted_to(&mut record, "a", &master, right, &wanted("a", &["b", "c"]), &others);
    assert_eq!(record.end_of(&replid("R1")), Some(120), "b was compared and holds no more");
}

#[test]
fn who_replaces_a_dead_master_without_its_lineage_counts_only_what_itself_was_seen_with() {
    let mut record = before();
    // b restarted with its AOF; a is dead and was seen at 100, c is away and was seen at 95.
    let right = Right::Replacement;
    granted_to(&mut record, "b", &lone_master("b"), right, &wanted("b", &["c"]), &[]);
    assert_eq!(record.end_of(&replid("R1")), Some(90), "c at 95 may hold what b does not");
}

#[test]
fn who_came_back_empty_carries_nothing_on() {
    for right in [Right::Resumed { provable: false }, Right::Replacement] {
        let mut record = before();
        record.end_lineage(replid("R0"), 55);
        let empty = Vitals { keys: 0, ..lone_master("a") };
        granted_to(&mut record, "a", &empty, right, &wanted("a", &["b"]), &[]);
        assert!(record.chain.is_empty(), "{right:?}: nobody may be attached for what a has lost");
    }
}

#[test]
fn who_replaces_a_dead_master_and_never_followed_it_carries_nothing_on() {
    let mut record = before();
    record.end_lineage(replid("R0"), 55);
    granted_to(&mut record, "d", &lone_master("d"), Right::Replacement, &wanted("d", &["b"]), &[]);
    assert!(record.chain.is_empty());
}

#[test]
fn a_discard_that_was_used_is_spent_when_its_node_is_attached_and_not_before() {
    let mut record = before();
    let mut wanted = wanted("b", &["a"]);
    wanted.document.discard = vec![discard("a")];
    granted_to(&mut record, "b", &lone_master("b"), Right::Replacement, &wanted, &[]);
    let used = |record: &Record| record.discards.iter().map(|used| used.spent).collect::<Vec<_>>();
    assert_eq!(used(&record), [false], "a may still return in that life");
    assert!(record.settle_discards(&name("a")));
    assert_eq!(used(&record), [true]);
    assert!(!record.settle_discards(&name("a")), "nothing is left to settle");
}

#[test]
fn a_life_that_is_granted_again_cannot_be_given_up_by_the_same_discard() {
    let mut record = before();
    let mut wanted_b = wanted("b", &["a"]);
    wanted_b.document.discard = vec![discard("a")];
    granted_to(&mut record, "b", &lone_master("b"), Right::Replacement, &wanted_b, &[]);
    // The order that attached it had no reply and ran late; nobody settled the discard.
    granted_to(
        &mut record,
        "a",
        &lone_master("a"),
        Right::HandedOver { frozen: 0 },
        &wanted("a", &["b"]),
        &[],
    );
    assert!(record.discards.iter().all(|used| used.spent), "{:?}", record.discards);
}

#[test]
fn a_discard_whose_attachment_nobody_confirmed_is_in_use_and_not_spent() {
    let mut record = before();
    record.discards.clear();
    let mut wanted = wanted("b", &["a"]);
    wanted.document.discard = vec![discard("a")];
    assert!(record.note_discards(&name("a"), &wanted));
    assert_eq!(record.discards.iter().map(|used| used.spent).collect::<Vec<_>>(), [false]);
    assert!(!record.note_discards(&name("a"), &wanted), "once is enough");
}

#[test]
fn a_lone_master_that_took_a_new_lineage_is_followed() {
    let mut record = before();
    let moved = Vitals { replid: replid("R1b"), offset: 140, ..vitals("a", Role::Master) };
    let mut observation = Observation::default();
    observation.nodes.insert(name("a"), known(endpoint("a"), state(1, moved)));
    assert!(record.follow_lineage(&observation));
    assert_eq!(record.end_of(&replid("R1")), Some(140), "this life wrote all of it");
    assert_eq!(record.granted.as_ref().expect("a grant").replid, replid("R1b"));
    assert!(!record.follow_lineage(&observation), "once is enough");
}

#[test]
fn the_heartbeat_keeps_who_is_not_in_good_health_as_it_was() {
    let mut record = before();
    let mut observation = Observation::default();
    let nodes = [
        ("a", Vitals { offset: 200, ..vitals("a", Role::Master) }),
        ("b", vitals("b", Role::Slave(following(endpoint("a"), 190)))),
    ];
    for (node, vitals) in nodes {
        observation.nodes.insert(name(node), known(endpoint(node), state(1, vitals)));
    }
    record.wanted = Some(wanted("a", &["b", "c"]));
    record.beat(&observation, 5);
    let offset = |node: &str| record.heartbeat.seen(&name(node)).map(|seen| seen.offset);
    assert_eq!((offset("a"), offset("b"), offset("c")), (Some(200), Some(190), Some(95)));

    let mut down = following(endpoint("a"), 250);
    down.link_up = false;
    let slave = state(1, vitals("b", Role::Slave(down)));
    observation.nodes.insert(name("b"), known(endpoint("b"), slave));
    record.wanted = Some(wanted("a", &["b"]));
    record.beat(&observation, 6);
    let offset = |node: &str| record.heartbeat.seen(&name(node)).map(|seen| seen.offset);
    assert_eq!((offset("b"), offset("c")), (Some(190), None), "c has left and is forgotten");
}

#[test]
fn who_holds_more_than_the_node_granted_now_is_doubted_then() {
    // b and c are slaves; b was fed by a life that nobody granted, and has gone on on its lineage.
    let mut record = before();
    record.wanted = Some(wanted("a", &["b", "c"]));
    let observe = |nodes: Vec<(&str, Vitals)>| {
        let mut observation = Observation::default();
        for (node, vitals) in nodes {
            observation.nodes.insert(name(node), known(endpoint(node), state(1, vitals)));
        }
        observation
    };
    let slave = |node: &str| vitals(node, Role::Slave(following(endpoint("a"), 90)));
    record.beat(&observe(vec![("a", vitals("a", Role::Master)), ("b", slave("b")), ("c", slave("c"))]), 1);
    let role = |record: &Record, node: &str| record.heartbeat.seen(&name(node)).map(|seen| seen.role);
    let own = Vitals { replid: replid("Rx"), ..slave("b") };
    record.doubt_all(&observe(vec![("b", own.clone()), ("c", slave("c"))]), &vitals("a", Role::Master));
    assert_eq!(role(&record, "b"), Some(SeenRole::Stray));
    assert_eq!(role(&record, "c"), Some(SeenRole::Slave), "it holds nothing that a does not");
    // What a restart made of it says nothing about the life that was a healthy slave.
    record.beat(&observe(vec![("a", vitals("a", Role::Master)), ("b", slave("b"))]), 2);
    let restarted = Vitals { run_id: run_id("b2"), ..own };
    record.doubt_all(&observe(vec![("b", restarted)]), &vitals("a", Role::Master));
    assert_eq!(role(&record, "b"), Some(SeenRole::Slave));
}

#[test]
fn who_is_missed_while_the_master_is_well_is_away_until_it_is_seen() {
    let mut record = before();
    record.wanted = Some(wanted("a", &["b"]));
    let master = || vitals("a", Role::Master);
    let slave = || vitals("b", Role::Slave(following(endpoint("a"), 190)));
    let long_away = |record: &Record| record.heartbeat.long_away(&name("b"));
    let mut beat = |nodes: Vec<(&str, Vitals)>, at: u64| {
        let mut observation = Observation::default();
        for (node, vitals) in nodes {
            observation.nodes.insert(name(node), known(endpoint(node), state(1, vitals)));
        }
        record.beat(&observation, at);
        long_away(&record)
    };
    assert!(!beat(vec![("a", master())], 1_000), "it may have been there a moment ago");
    assert!(!beat(vec![], 90_000), "nobody was well then");
    assert!(!beat(vec![("a", master())], 1_000 + AWAY_MIN_MS - 1));
    assert!(beat(vec![("a", master())], 1_000 + AWAY_MIN_MS));
    assert!(beat(vec![], 91_000), "what it did not have then it cannot get from a master that is down");
    assert!(!beat(vec![("a", master()), ("b", slave())], 92_000), "it was seen");
    assert!(!beat(vec![("a", master())], 93_000), "and is missed anew");
}
