use proptest::prelude::*;

use super::*;
use crate::write_commands;

const MASTER_7_0: &str = include_str!("../../tests/fixtures/redis-7.0-master.txt");
const SLAVE_7_0: &str = include_str!("../../tests/fixtures/redis-7.0-slave.txt");
const PARKED_6_2: &str = include_str!("../../tests/fixtures/redis-6.2-parked.txt");
const LOADING_8_0: &str = include_str!("../../tests/fixtures/redis-8.0-loading.txt");
const VALKEY_8_1: &str = include_str!("../../tests/fixtures/valkey-8.1-slave.txt");
const SENTINEL_7_0: &str = include_str!("../../tests/fixtures/sentinel-7.0.txt");

const ALL: [&str; 6] = [MASTER_7_0, SLAVE_7_0, PARKED_6_2, LOADING_8_0, VALKEY_8_1, SENTINEL_7_0];

fn read(text: &str) -> Vitals {
    vitals(text, Some(&write_commands::fallback())).expect("a fixture can be read")
}

#[test]
fn a_master_of_redis_7_0() {
    let vitals = read(MASTER_7_0);
    assert_eq!(vitals.role, Role::Master);
    assert_eq!(vitals.run_id.0, "2be35f542e85f46a58de2db81e72100cd1d0bc60");
    assert_eq!(vitals.replid.0, "e758d098f14422e562f589116611ff5bececaed1");
    assert_eq!((vitals.replid2, vitals.second_offset), (None, None));
    assert_eq!((vitals.offset, vitals.keys), (44, 3));
    assert_eq!(vitals.version, Version { major: 7, minor: 0, patch: 15 });
    assert_eq!(vitals.memory_max, 100 * 1024 * 1024);
    assert!(vitals.stats_reset, "CONFIG RESETSTAT was called before this was taken");
    assert!(!vitals.loading && !vitals.cluster && !vitals.sentinel && !vitals.failover_running);
    assert!(!vitals.fed);
    assert_eq!(vitals.write_calls, Some(0));
    assert_eq!(paused(MASTER_7_0), Ok(None));
}

#[test]
fn a_slave_of_redis_7_0() {
    let vitals = read(SLAVE_7_0);
    let following = vitals.following().expect("a slave");
    assert_eq!((following.host.as_str(), following.port), ("127.0.0.1", 17001));
    assert!(following.link_up && following.read_only && !following.syncing && !following.is_parked());
    assert_eq!(following.applied, 44);
    assert!(vitals.fed && !vitals.stats_reset);
    assert_eq!(vitals.write_calls, Some(1), "the INCR it was fed; SELECT is no write");
    assert_eq!(vitals.backlog_bytes, 1_048_576);
}

#[test]
fn a_parked_node_of_redis_6_2() {
    let vitals = read(PARKED_6_2);
    assert!(vitals.is_parked() && vitals.append_only && !vitals.fed);
    assert_eq!(vitals.replid2, Some(ReplId("3".repeat(40))));
    assert_eq!(vitals.second_offset, Some(778));
    assert_eq!((vitals.unexpected_errors, vitals.evicted_keys, vitals.full_syncs), (4, 3, 2));
    assert_eq!(vitals.write_calls, Some(2), "6.2 counts XGROUP without its subcommands");
    assert!(!vitals.stats_reset, "6.2 does not tell CONFIG GET from CONFIG RESETSTAT");
    assert_eq!(vitals.keys, 0);
}

#[test]
fn a_loading_cluster_node_of_redis_8_0_with_numbers_at_their_limits() {
    let vitals = read(LOADING_8_0);
    assert!(vitals.loading && vitals.cluster && vitals.failover_running);
    assert_eq!(vitals.offset, u64::MAX);
    assert_eq!(vitals.keys, u64::MAX, "sums stay at the limit");
}

#[test]
fn a_paused_writable_slave_of_valkey() {
    let vitals = read(VALKEY_8_1);
    let following = vitals.following().expect("a slave");
    assert!(!following.read_only && following.syncing);
    assert_eq!(following.applied, 900, "what was applied, not what was read");
    assert_eq!(vitals.version, Version { major: 7, minor: 2, patch: 4 });
    assert_eq!(vitals.valkey, Some(Version { major: 8, minor: 1, patch: 1 }));
    assert_eq!(paused(VALKEY_8_1), Ok(Some(true)));
    assert_eq!(server_time_us(VALKEY_8_1), Ok(Some(1_750_000_000_000_000)));
}

#[test]
fn a_sentinel_is_told_by_its_mode_and_never_looks_like_a_master() {
    let vitals = read(SENTINEL_7_0);
    assert!(vitals.sentinel);
    assert!(!vitals.is_master());
}

#[test]
fn what_decides_must_be_there_once_and_well_formed() {
    let without = |field: &str| {
        SLAVE_7_0
            .lines()
            .filter(|line| !line.starts_with(&format!("{field}:")))
            .collect::<Vec<_>>()
            .join("\n")
    };
    for field in [
        "run_id",
        "redis_version",
        "role",
        "master_replid",
        "master_repl_offset",
        "master_host",
        "master_port",
        "master_link_status",
        "slave_read_only",
    ] {
        let error = vitals(&without(field), None).expect_err(field);
        assert!(matches!(error, InfoError::Missing(missing) if missing == field), "{field}: {error}");
        let contradicted = format!("{field}:other\r\n{SLAVE_7_0}");
        let error = vitals(&contradicted, None).expect_err(field);
        assert!(matches!(error, InfoError::Contradiction(_)), "{field}: {error}");
    }
    for (field, value) in [
        ("role", "boss"),
        ("master_port", "65536"),
        ("master_port", "-1"),
        ("master_repl_offset", "18446744073709551616"),
        ("slave_repl_offset", "12x"),
        ("second_repl_offset", "-2"),
        ("loading", "yes"),
        ("slave_read_only", ""),
        ("redis_version", "unstable"),
        ("db0", "keys=many"),
    ] {
        let text = format!("{}\r\n{field}:{value}\r\n", without(field));
        let error = vitals(&text, None).expect_err(value);
        assert!(matches!(error, InfoError::Malformed { .. }), "{field}:{value}: {error}");
    }
}

#[test]
fn a_huge_reply_is_not_looked_at() {
    let text = "x".repeat(crate::info::INFO_BYTES_MAX + 1);
    assert_eq!(vitals(&text, None), Err(InfoError::TooLarge(text.len())));
}

#[test]
fn an_error_quotes_no_more_than_a_line() {
    let text = format!(
        "run_id:a\nredis_version:7.0.0\nmaster_replid:b\nmaster_repl_offset:1\nrole:{}",
        "x".repeat(9999)
    );
    let error = vitals(&text, None).expect_err("no such role").to_string();
    assert!(error.len() < 200, "{error}");
}

proptest! {
    /// Whatever a foreign program sends, there is an answer and no panic.
    #[test]
    fn any_text_is_answered(text in ".{0,400}") {
        let _ = vitals(&text, Some(&write_commands::fallback()));
        let _ = paused(&text);
    }

    /// A reply cut anywhere, with one byte changed, is read alike or refused, never read as a master
    /// that was a slave.
    #[test]
    fn a_damaged_reply_never_turns_a_slave_into_a_master(
        which in 0usize..ALL.len(), cut in 0usize..6000, at in 0usize..6000, byte in 32u8..127,
    ) {
        let text = ALL[which];
        let whole = read(text);
        let mut bytes = text.as_bytes()[..cut.min(text.len())].to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        if let Ok(damaged) = vitals(&String::from_utf8_lossy(&bytes), None) {
            prop_assert!(whole.is_master() || !damaged.is_master());
        }
    }

    /// The order of the lines does not matter.
    #[test]
    fn lines_may_come_in_any_order(seed in any::<u64>(), which in 0usize..ALL.len()) {
        let mut lines: Vec<&str> = ALL[which].lines().collect();
        lines.sort_by_key(|line| {
            line.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        prop_assert_eq!(read(&lines.join("\r\n")), read(ALL[which]));
    }
}
