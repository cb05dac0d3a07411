//! The hand-over against scripted replies: what comes back on the left, exactly what is done next on the
//! right.
//!
//! `a` hands over to `b`. A reply is what INFO says (`a master 100`), or what it says before and after a
//! change of role (`a master 100 | OK | a parked 100`), or `silence` (no reply in time), `refusal` (redis
//! said no), `gone` (never sent), `nonsense` (an answer to another question); `@600` lets it come 600 ms
//! after the start. Unless said otherwise everybody is in the life and on the lineage R1 of the intent,
//! and a promoted node is on R2 with R1 as the lineage before.

mod nodes;

use std::time::Duration;

use nodes::{endpoint, following, name, parked, replid, run_id, vitals};
use topology::command::{Answer, Assigned, Assignment, Command, Failure, Reply};
use topology::handover::{Action, End, HandOver, HandOverLimits, Side, Who};
use topology::observation::{Role, RunId, SessionId, Unknown, Vitals};

/// The offset of the acting master as observed before the pause.
const SEEN: u64 = 50;
const LIMITS: HandOverLimits =
    HandOverLimits { write_pause: Duration::from_secs(1), approach_until: Duration::from_secs(30) };

fn side(node: &str, session: u64) -> Side {
    Side { node: name(node), endpoint: endpoint(node), run_id: run_id(node), session: SessionId(session) }
}

fn machine() -> HandOver {
    HandOver::new(side("a", 1), side("b", 2), replid("R1"), SEEN, LIMITS)
}

/// A hand-over whose target has come close, and whose intent is to be saved.
fn close() -> HandOver {
    let mut machine = machine();
    assert_eq!(show(&machine.start()), "b approach: poll");
    assert_eq!(show(&play(&mut machine, "b slave 50")), "save intent");
    machine
}

/// Plays a script of `reply > action` lines, once the target has come close, and holds every action
/// against what is written.
fn check(script: &str) {
    check_from(close(), script);
}

fn check_from(mut machine: HandOver, script: &str) {
    for (number, line) in script.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let (event, expected) = line.split_once('>').expect("reply > action");
        let action = play(&mut machine, event);
        assert_eq!(show(&action), expected.trim(), "line {}: {line}\nof{script}", number + 1);
    }
}

fn play(machine: &mut HandOver, event: &str) -> Action {
    let (event, at_ms) = event.split_once(" @").unwrap_or((event, "0"));
    let now = Duration::from_millis(at_ms.trim().parse().expect("milliseconds"));
    match event.trim() {
        "saved" => machine.saved(Ok(()), now),
        "unsaved" => machine.saved(Err("no space left".to_owned()), now),
        "woken" => machine.woken(),
        reply => machine.answered(answer(reply), now),
    }
}

fn answer(reply: &str) -> Answer {
    match reply {
        "silence" => Err(Failure::NoReply(Unknown::Silent(2000))),
        "refusal" => Err(Failure::NotExecuted(Unknown::Refuses("NOPERM".to_owned()))),
        "gone" => Err(Failure::NotExecuted(Unknown::Unreachable("connection reset".to_owned()))),
        "nonsense" => Ok(Reply::Done),
        reply if reply.contains('|') => {
            let parts: Vec<&str> = reply.split('|').map(str::trim).collect();
            let [before, accepted, after] = parts.try_into().expect("before | OK | after");
            let accepted = if accepted == "OK" { Ok(()) } else { Err(accepted.to_owned()) };
            let assigned = Assigned { before: info(before), accepted, after: info(after) };
            Ok(Reply::Assigned(Box::new(assigned)))
        }
        reply => Ok(Reply::Vitals(Box::new(info(reply)))),
    }
}

/// `b slave 100 run=run-b2 replid=R9 replid2=R1@101 writable`
fn info(text: &str) -> Vitals {
    let mut words = text.split_whitespace();
    let (node, role) = (words.next().expect("a node"), words.next().expect("a role"));
    let offset: u64 = words.next().expect("an offset").parse().expect("an offset");
    let mut found = match role {
        "master" if node == "b" => {
            // A slave that was promoted: a new lineage that begins one past the offset.
            let (replid2, second_offset) = (Some(replid("R1")), Some(offset + 1));
            Vitals { replid: replid("R2"), replid2, second_offset, ..vitals(node, Role::Master) }
        }
        "master" => vitals(node, Role::Master),
        "slave" => vitals(node, Role::Slave(following(endpoint("a"), offset))),
        "parked" => vitals(node, Role::Slave(parked(offset))),
        other => panic!("no role {other}"),
    };
    found.offset = offset;
    for word in words {
        match word.split_once('=') {
            Some(("run", run)) => found.run_id = RunId(run.to_owned()),
            Some(("replid", lineage)) => found.replid = replid(lineage),
            Some(("replid2", "none")) => (found.replid2, found.second_offset) = (None, None),
            Some(("replid2", before)) => {
                let (lineage, second) = before.split_once('@').expect("lineage@offset");
                found.replid2 = Some(replid(lineage));
                found.second_offset = Some(second.parse().expect("an offset"));
            }
            None if word == "writable" => {
                let Role::Slave(link) = &mut found.role else { panic!("a master is writable anyway") };
                link.read_only = false;
            }
            _ => panic!("no word {word}"),
        }
    }
    found
}

fn show(action: &Action) -> String {
    match action {
        Action::SaveIntent => "save intent".to_owned(),
        Action::Wait(interval) => format!("wait {} ms", interval.as_millis()),
        Action::Order { who, step, command } => {
            let who = if *who == Who::From { "a" } else { "b" };
            format!("{who} {step}: {}", show_command(command))
        }
        Action::Done(End::Promoted(promoted)) => format!(
            "promoted at {} of {} after {} ms",
            promoted.applied,
            promoted.frozen,
            promoted.write_gap.as_millis()
        ),
        Action::Done(End::Unchanged(refusal) | End::Undone { refusal, .. }) => {
            format!("unchanged: {} at {}", refusal.slug.as_str(), refusal.step.unwrap_or("no step"))
        }
        Action::Done(End::Unknown(refusal)) => {
            format!("unknown: {} at {}", refusal.slug.as_str(), refusal.step.unwrap_or("no step"))
        }
    }
}

fn show_command(command: &Command) -> String {
    match command {
        Command::Poll => "poll".to_owned(),
        Command::PauseWrites { budget } => format!("pause {} ms", budget.as_millis()),
        Command::Unpause => "unpause".to_owned(),
        Command::Assign { to, unpause, .. } => {
            let role = match to {
                Assignment::Parked => "park",
                Assignment::Master => "be master",
                Assignment::SlaveOf(_) => "follow",
            };
            format!("{role}{}", if *unpause { ", unpause" } else { "" })
        }
        other => format!("{other:?}"),
    }
}

// === the way it should go ===

#[test]
fn the_target_has_everything_at_once() {
    check(
        "
        saved                            > a pause: pause 1000 ms
        a master 100                     > b drain: poll
        b slave 100                      > a demote: park, unpause
        a master 100 | OK | a parked 100 > b promote: be master
        b slave 100 | OK | b master 100 @2 > promoted at 100 of 100 after 2 ms
        ",
    );
}

#[test]
fn the_target_catches_up_while_writes_are_paused() {
    check(
        "
        saved        > a pause: pause 1000 ms
        a master 100 > b drain: poll
        b slave 80   > b drain: poll
        b slave 99   > b drain: poll
        b slave 100  > a demote: park, unpause
        a master 100 | OK | a parked 100 > b promote: be master
        b slave 100 | OK | b master 100  > promoted at 100 of 100 after 0 ms
        ",
    );
}

#[test]
fn the_master_wrote_on_between_pause_and_demotion() {
    // A ping to the slaves, or a pause that ended early: what counts is F, read where writing ended.
    check(
        "
        saved        > a pause: pause 1000 ms
        a master 100 > b drain: poll
        b slave 100  > a demote: park, unpause
        a master 114 | OK | a parked 114 > b prove: poll
        b slave 100  > b prove: poll
        b slave 114  > b promote: be master
        b slave 114 | OK | b master 114  > promoted at 114 of 114 after 0 ms
        ",
    );
}

#[test]
fn the_target_may_be_further_than_the_offset_it_is_asked_for() {
    check(
        "
        saved        > a pause: pause 1000 ms
        a master 100 > b drain: poll
        b slave 120  > a demote: park, unpause
        a master 114 | OK | a parked 114 > b promote: be master
        b slave 120 | OK | b master 120  > promoted at 120 of 114 after 0 ms
        ",
    );
}

#[test]
fn polls_are_eager_at_first_and_then_a_millisecond_apart() {
    let mut machine = close();
    play(&mut machine, "saved");
    play(&mut machine, "a master 100");
    let eager = (0..1000).find(|_| show(&play(&mut machine, "b slave 80")) != "b drain: poll");
    let eager = eager.expect("polling goes on for ever without a wait");
    assert!((1..100).contains(&eager), "{eager} polls without a wait");
    for _ in 0..5 {
        assert_eq!(show(&play(&mut machine, "woken")), "b drain: poll");
        assert_eq!(show(&play(&mut machine, "b slave 80")), "wait 1 ms");
    }
}

// === before anything is paused ===

#[test]
fn the_target_comes_close_while_writes_go_on() {
    let mut machine = machine();
    assert_eq!(show(&machine.start()), "b approach: poll");
    check_from(
        machine,
        "
        b slave 0           > wait 10 ms
        woken               > b approach: poll
        b slave 49 @29999   > wait 10 ms
        woken               > b approach: poll
        b slave 50 @29999   > save intent
        saved               > a pause: pause 1000 ms
        ",
    );
}

#[test]
fn a_target_that_does_not_come_close_in_time_changes_nothing() {
    let mut machine = machine();
    machine.start();
    check_from(machine, "b slave 49 @30000 > unchanged: sync-timeout at approach");
}

#[test]
fn whatever_becomes_of_the_target_while_it_comes_close_changes_nothing() {
    for (event, end) in [
        ("silence", "node-unreachable"),
        ("refusal", "node-refused"),
        ("gone", "node-unreachable"),
        ("nonsense", "internal"),
        ("b slave 100 run=run-b2", "target-unfit"),
        ("b slave 100 replid=R9", "target-unfit"),
        ("b master 100", "target-unfit"),
    ] {
        let mut machine = machine();
        machine.start();
        check_from(machine, &format!("{event} > unchanged: {end} at approach"));
    }
}

// === called off: nothing changed ===

#[test]
fn an_intent_that_cannot_be_saved_touches_nothing() {
    check("unsaved > unchanged: record-not-writable at intent");
}

#[test]
fn a_pause_without_success_ends_by_itself() {
    check("saved > a pause: pause 1000 ms\n silence  > unchanged: node-unreachable at pause");
    check("saved > a pause: pause 1000 ms\n refusal  > unchanged: node-refused at pause");
    check("saved > a pause: pause 1000 ms\n gone     > unchanged: node-unreachable at pause");
    check("saved > a pause: pause 1000 ms\n nonsense > unchanged: internal at pause");
}

#[test]
fn an_acting_master_that_is_not_what_it_was_is_let_go_on() {
    for changed in ["a slave 100", "a parked 100", "a master 100 run=run-a2", "a master 100 replid=R9"] {
        check(&format!(
            "
            saved     > a pause: pause 1000 ms
            {changed} > a unpause: unpause
            nonsense  > unchanged: target-unfit at pause
            "
        ));
    }
}

#[test]
fn a_drain_that_is_too_slow_lets_writes_go_on() {
    check(
        "
        saved           > a pause: pause 1000 ms
        a master 100    > b drain: poll
        b slave 80 @499 > b drain: poll
        b slave 99 @500 > a unpause: unpause
        nonsense        > unchanged: drain-timeout at drain
        ",
    );
}

#[test]
fn a_drain_that_is_complete_in_the_last_moment_goes_on() {
    check(
        "
        saved            > a pause: pause 1000 ms
        a master 100     > b drain: poll
        b slave 100 @900 > a demote: park, unpause
        ",
    );
}

#[test]
fn whatever_becomes_of_the_target_before_the_demotion_lets_writes_go_on() {
    for (event, end) in [
        ("silence", "node-unreachable"),
        ("refusal", "node-refused"),
        ("gone", "node-unreachable"),
        ("nonsense", "internal"),
        ("b slave 100 run=run-b2", "target-unfit"),
        ("b slave 100 replid=R9", "target-unfit"),
        ("b master 100", "target-unfit"),
        ("b master 100 replid=R1", "target-unfit"),
    ] {
        // What came of the unpause does not matter: the pause ends by itself.
        for unpaused in ["nonsense", "silence", "refusal"] {
            check(&format!(
                "
                saved        > a pause: pause 1000 ms
                a master 100 > b drain: poll
                {event}      > a unpause: unpause
                {unpaused}   > unchanged: {end} at drain
                "
            ));
        }
    }
}

// === the demotion ===

const UP_TO_DEMOTION: &str = "
    saved        > a pause: pause 1000 ms
    a master 100 > b drain: poll
    b slave 100  > a demote: park, unpause";

#[test]
fn a_demotion_that_was_surely_not_done_is_called_off() {
    for (event, end) in [
        ("refusal", "node-refused"),
        ("gone", "node-unreachable"),
        ("a master 100 | ERR not now | a master 100", "node-refused"),
    ] {
        check(&format!(
            "{UP_TO_DEMOTION}
            {event}  > a unpause: unpause
            nonsense > unchanged: {end} at demote
            "
        ));
    }
}

#[test]
fn a_demotion_without_reply_or_with_a_senseless_one_is_not_guessed_at() {
    for event in ["silence", "nonsense", "a master 100"] {
        check(&format!("{UP_TO_DEMOTION}\n {event} > unknown: outcome-unknown at demote"));
    }
}

#[test]
fn a_demotion_of_another_than_the_acting_master_is_not_built_upon() {
    for before in ["a slave 100", "a parked 100", "a master 100 run=run-a2", "a master 100 replid=R9"] {
        check(&format!(
            "{UP_TO_DEMOTION}\n {before} | OK | a parked 100 > unknown: outcome-unknown at demote"
        ));
    }
}

#[test]
fn an_old_master_that_stayed_writable_is_given_its_role_back() {
    for after in ["a parked 100 writable", "a master 100"] {
        check(&format!(
            "{UP_TO_DEMOTION}
            a master 100 | OK | {after}      > a undo: be master, unpause
            a parked 100 | OK | a master 100 > unchanged: target-unfit at demote
            "
        ));
    }
}

// === between demotion and promotion ===

const UP_TO_PROOF: &str = "
    saved        > a pause: pause 1000 ms
    a master 100 > b drain: poll
    b slave 100  > a demote: park, unpause
    a master 114 | OK | a parked 114 @100 > b prove: poll";

#[test]
fn a_target_that_does_not_reach_the_last_write_is_not_promoted() {
    check(&format!(
        "{UP_TO_PROOF}
        b slave 113 @1099 > b prove: poll
        b slave 113 @1100 > a undo: be master, unpause
        a parked 114 | OK | a master 114 > unchanged: drain-timeout at prove
        "
    ));
}

#[test]
fn whatever_becomes_of_the_target_before_a_promotion_was_sent_is_undone() {
    for (event, end) in [
        ("silence", "node-unreachable"),
        ("refusal", "node-refused"),
        ("gone", "node-unreachable"),
        ("nonsense", "internal"),
        ("b slave 114 run=run-b2", "target-unfit"),
        ("b slave 114 replid=R9", "target-unfit"),
        ("b master 114", "target-unfit"),
    ] {
        check(&format!(
            "{UP_TO_PROOF}
            {event} > a undo: be master, unpause
            a parked 114 | OK | a master 114 > unchanged: {end} at prove
            "
        ));
    }
}

#[test]
fn an_undo_without_success_is_not_taken_for_one() {
    for undone in [
        "silence",
        "refusal",
        "gone",
        "nonsense",
        "a parked 114 | ERR no | a parked 114",
        "a parked 114 | OK | a parked 114",
    ] {
        check(&format!(
            "{UP_TO_PROOF}
            gone     > a undo: be master, unpause
            {undone} > unknown: outcome-unknown at undo
            "
        ));
    }
}

// === the promotion ===

const UP_TO_PROMOTION: &str = "
    saved        > a pause: pause 1000 ms
    a master 100 > b drain: poll
    b slave 100  > a demote: park, unpause
    a master 100 | OK | a parked 100 > b promote: be master";

#[test]
fn a_promotion_without_reply_or_with_a_senseless_one_is_never_undone() {
    for event in ["silence", "nonsense", "b slave 100"] {
        check(&format!("{UP_TO_PROMOTION}\n {event} > unknown: outcome-unknown at promote"));
    }
}

#[test]
fn a_promotion_that_was_surely_not_done_is_undone() {
    for (event, end) in [("refusal", "node-refused"), ("gone", "node-unreachable")] {
        check(&format!(
            "{UP_TO_PROMOTION}
            {event} > a undo: be master, unpause
            a parked 100 | OK | a master 100 > unchanged: {end} at promote
            "
        ));
    }
}

/// Every way in which before or after can be wrong.
const WRONG_EVIDENCE: [&str; 11] = [
    "b slave 99 | OK | b master 99",
    "b slave 100 run=run-b2 | OK | b master 100 run=run-b2",
    "b slave 100 replid=R9 | OK | b master 100 replid2=R9@101",
    "b master 100 | OK | b master 100",
    "b master 100 replid=R1 | OK | b master 100",
    "b slave 100 | OK | b slave 100",
    "b slave 100 | OK | b parked 100",
    "b slave 100 | OK | b master 100 replid2=none",
    "b slave 100 | OK | b master 100 replid2=R9@101",
    "b slave 100 | OK | b master 100 replid2=R1@100",
    "b slave 100 | ERR not now | b slave 100",
];

#[test]
fn a_promotion_without_proof_is_parked_before_the_old_master_is_given_its_role_back() {
    for evidence in WRONG_EVIDENCE {
        let end = if evidence.contains("ERR") { "node-refused" } else { "target-unfit" };
        check(&format!(
            "{UP_TO_PROMOTION}
            {evidence}                       > b park-target: park
            b master 100 | OK | b parked 100 > a undo: be master, unpause
            a parked 100 | OK | a master 100 > unchanged: {end} at promote
            "
        ));
    }
}

#[test]
fn a_target_that_cannot_be_parked_again_keeps_the_old_master_read_only() {
    for parked in [
        "silence",
        "refusal",
        "gone",
        "nonsense",
        "b master 100 | ERR no | b master 100",
        "b master 100 | OK | b master 100",
        "b master 100 | OK | b slave 100",
    ] {
        check(&format!(
            "{UP_TO_PROMOTION}
            b slave 99 | OK | b master 99 > b park-target: park
            {parked}                      > unknown: outcome-unknown at park-target
            "
        ));
    }
}

// === rules over all scripts ===

/// The replies of the long happy path, in order; what `b` says is marked by its name.
const HAPPY: [&str; 7] = [
    "saved",
    "a master 100",
    "b slave 90",
    "b slave 100",
    "a master 114 | OK | a parked 114",
    "b slave 114",
    "b slave 114 | OK | b master 114",
];

/// Replies of every kind, for feeding them in where they do not belong.
const REPLIES: [&str; 16] = [
    "silence",
    "refusal",
    "gone",
    "nonsense",
    "a master 100",
    "a slave 100",
    "b slave 114",
    "b slave 90",
    "b slave 114 run=run-b2",
    "b master 114",
    "b master 114 run=run-b2",
    "a master 114 | OK | a parked 114",
    "a parked 114 | OK | a master 114",
    "b slave 114 | OK | b master 114",
    "b slave 99 | OK | b master 99",
    "b master 99 | OK | b parked 99",
];

#[test]
fn a_target_that_restarts_between_any_two_steps_is_never_promoted() {
    // The promotion goes over the connection of the life that was recorded; a restart ends it, so what
    // comes back is never an EXEC of the new life, unless somebody sent it elsewhere by mistake.
    for restarted_at in 0..HAPPY.len() {
        for told_by_silence in [false, true] {
            let mut machine = close();
            let mut actions = vec![Action::SaveIntent];
            for (step, reply) in HAPPY.iter().enumerate() {
                if matches!(actions.last(), Some(Action::Done(_))) {
                    break;
                }
                let of_target = reply.starts_with('b');
                let reply = match reply {
                    reply if step >= restarted_at && of_target && told_by_silence => {
                        let promotion = reply.contains('|');
                        if promotion { "silence".to_owned() } else { "gone".to_owned() }
                    }
                    reply if step >= restarted_at && of_target => reply
                        .split(" | ")
                        .map(|part| if part == "OK" { part.to_owned() } else { format!("{part} run=run-b2") })
                        .collect::<Vec<_>>()
                        .join(" | "),
                    reply => (*reply).to_owned(),
                };
                // Off the happy path the next reply may not fit; the undo has its own.
                let undo = matches!(actions.last(), Some(Action::Order { step: "undo", .. }));
                let reply = if undo { "a parked 114 | OK | a master 114".to_owned() } else { reply };
                actions.push(play(&mut machine, &reply));
            }
            let promoted = actions.iter().any(|action| matches!(action, Action::Done(End::Promoted(_))));
            assert!(
                !promoted,
                "restarted at {restarted_at}: {:?}",
                actions.iter().map(show).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn no_sequence_of_replies_breaks_the_order_of_the_steps() {
    // Every sequence of six replies of any kind, without regard to what was asked, from each point of the
    // happy path on: demote only after the pause was answered, promote only after a proven demotion, undo
    // never after a promotion without reply, and never two masters by our own orders.
    let mut played = 0_u32;
    for begun in 1..=HAPPY.len() - 1 {
        let mut stack: Vec<Vec<&str>> = vec![HAPPY[..begun].to_vec()];
        while let Some(replies) = stack.pop() {
            let (orders, over) = orders_of(&replies);
            played += 1;
            judge(&replies, &orders);
            if !over && replies.len() < begun + 3 {
                stack.extend(REPLIES.iter().map(|reply| {
                    let mut longer = replies.clone();
                    longer.push(*reply);
                    longer
                }));
            }
        }
    }
    assert!(played > 1000, "only {played} sequences");
}

/// The steps ordered, each with the reply it got, and whether the machine is done.
fn orders_of<'a>(replies: &[&'a str]) -> (Vec<(&'static str, Option<&'a str>)>, bool) {
    let mut machine = close();
    let mut orders: Vec<(&'static str, Option<&str>)> = Vec::new();
    for reply in replies {
        if let Some(last) = orders.last_mut() {
            last.1 = Some(reply);
        }
        match play(&mut machine, reply) {
            Action::Order { step, .. } => orders.push((step, None)),
            Action::Wait(_) => {}
            Action::Done(_) => return (orders, true),
            Action::SaveIntent => panic!("the intent is saved once"),
        }
    }
    (orders, false)
}

fn judge(replies: &[&str], orders: &[(&str, Option<&str>)]) {
    let all = || format!("{replies:?}: {orders:?}");
    let position = |step: &str| orders.iter().position(|(ordered, _)| *ordered == step);
    if let Some(promote) = position("promote") {
        let demoted = orders[..promote].iter().rev().find(|(step, _)| *step == "demote");
        let proof = demoted.and_then(|(_, reply)| *reply);
        assert_eq!(proof, Some("a master 114 | OK | a parked 114"), "promoted without proof: {}", all());
        assert!(
            !orders[..promote].iter().any(|(step, _)| *step == "undo"),
            "promoted after an undo: {}",
            all()
        );
        let reply = orders[promote].1;
        if reply.is_some_and(|reply| !reply.contains('|') && !matches!(reply, "refusal" | "gone")) {
            assert_eq!(orders.len(), promote + 1, "orders after a promotion without reply: {}", all());
        }
    }
    if let Some(undo) = position("undo") {
        assert!(
            position("demote").is_some_and(|demote| demote < undo),
            "undone without a demotion: {}",
            all()
        );
        let parked = position("park-target").and_then(|park| orders[park].1);
        let never_sent = position("promote").is_none();
        let surely_not =
            position("promote").is_some_and(|at| matches!(orders[at].1, Some("refusal" | "gone")));
        let parked_again =
            parked.is_some_and(|reply| reply.ends_with("b parked 99") || reply.ends_with("a parked 114"));
        assert!(never_sent || surely_not || parked_again, "undone on no knowledge: {}", all());
    }
    let changes = orders.iter().filter(|(step, _)| matches!(*step, "demote" | "promote" | "undo")).count();
    assert!(changes <= 3, "more than demote, promote, undo: {}", all());
}
