use super::*;
use crate::permissions::{RULES_NEEDED, RULES_OBSERVING};

/// A node that nothing is wrong with.
fn sound(port: u16, is_master: bool) -> Facts {
    let info = "# Server\r\nredis_version:7.0.15\r\nconfig_file:/etc/redis.conf\r\naof_enabled:1\r\n\
                rdb_last_bgsave_status:ok\r\naof_last_write_status:ok\r\n";
    let config = "appendonly\nyes\nappendfsync\neverysec\nsave\n3600 1\nreplica-read-only\nyes\n\
                  replica-ignore-maxmemory\nyes\nmin-replicas-to-write\n0\nrepl-backlog-size\n1048576\n\
                  maxmemory\n1073741824\nmaxmemory-policy\nnoeviction\nrequirepass\n\nmasterauth\n\n";
    Facts {
        endpoint: format!("10.0.0.1:{port}"),
        is_master,
        info: parse_info(info),
        config: parse_config(config),
        clock_ahead_ms: Some(3),
        writes_bytes_per_s: Some(1000),
        user: None,
        unasked: None,
    }
}

fn with(directives: &[(&str, &str)]) -> Facts {
    let mut node = sound(6379, true);
    for (name, value) in directives {
        node.config.insert((*name).to_owned(), (*value).to_owned());
    }
    node
}

fn said(name: &str, value: &str) -> Facts {
    let mut node = sound(6379, true);
    node.info.insert(name.to_owned(), value.to_owned());
    node
}

#[test]
fn sound_nodes_have_no_findings() {
    assert_eq!(examine(&[sound(6379, true), sound(6380, false)]), []);
}

#[test]
fn each_fault_is_found_with_its_cure() {
    let set = |directive: &str| format!("redis-cli -h 10.0.0.1 -p 6379 CONFIG SET {directive}, and the same");
    let mut no_aof = said("aof_enabled", "0");
    no_aof.config.insert("save".into(), String::new());
    let cases = [
        (no_aof, Level::Danger, "memory only", set("appendonly yes")),
        (said("aof_enabled", "0"), Level::Warning, "no append-only file", set("appendonly yes")),
        (with(&[("appendfsync", "no")]), Level::Warning, "power cut", set("appendfsync everysec")),
        (said("rdb_last_bgsave_status", "err"), Level::Danger, "snapshot failed", "make room".into()),
        (said("aof_last_write_status", "err"), Level::Danger, "last write", "make room".into()),
        (
            with(&[("replica-read-only", "no")]),
            Level::Danger,
            "go on taking writes",
            set("replica-read-only yes"),
        ),
        (said("slave_read_only", "0"), Level::Danger, "go on taking writes", set("replica-read-only yes")),
        (
            with(&[("replica-ignore-maxmemory", "no")]),
            Level::Danger,
            "evicts keys",
            set("replica-ignore-maxmemory yes"),
        ),
        (
            with(&[("min-replicas-to-write", "1000000")]),
            Level::Danger,
            "original",
            set("min-replicas-to-write 0"),
        ),
        (
            with(&[("min-replicas-to-write", "1")]),
            Level::Note,
            "just promoted",
            set("min-replicas-to-write 0"),
        ),
        (
            with(&[("repl-backlog-size", "16384")]),
            Level::Warning,
            "longer than 16 s",
            set("repl-backlog-size 65536"),
        ),
        (with(&[("maxmemory", "0")]), Level::Note, "kernel kills", "CONFIG SET maxmemory".into()),
        (
            with(&[("maxmemory-policy", "allkeys-lru")]),
            Level::Note,
            "cache only",
            set("maxmemory-policy noeviction"),
        ),
        (said("config_file", ""), Level::Note, "without a configuration file", "redis-node@.service".into()),
        (
            Facts { config: BTreeMap::new(), ..sound(6379, true) },
            Level::Note,
            "half of these",
            "REDISCLI_AUTH".into(),
        ),
        (with(&[("requirepass", "x")]), Level::Danger, "cannot follow", "CONFIG SET masterauth".into()),
    ];
    for (node, level, what, cure) in cases {
        let findings = examine(&[node]);
        let [finding] = findings.as_slice() else { panic!("{what}: {findings:?}") };
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.what.contains(what), "{what}: {finding:?}");
        assert!(finding.cure.contains(&cure), "{cure}: {finding:?}");
    }
}

#[test]
fn a_node_that_cannot_be_asked_is_told_apart_by_its_words() {
    for (reason, cure) in [
        ("DENIED Redis is running in protected mode", "users.conf"),
        ("NOAUTH Authentication required.", "REDISCLI_AUTH"),
        ("Connection refused", "start the node"),
    ] {
        let node = Facts { unasked: Some(reason.into()), ..Facts::default() };
        let findings = examine(&[node]);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].cure.contains(cure), "{findings:?}");
    }
}

#[test]
fn missing_and_needless_rules_are_told_as_rules() {
    let of = |permissions: Permissions| {
        let user = Some(("dictator".to_owned(), permissions));
        examine(&[Facts { user, ..sound(6379, true) }])
    };
    assert_eq!(of(Permissions::Known { missing: Vec::new(), excess: Vec::new() }), []);
    let both = of(Permissions::Known { missing: vec!["+client|kill", "+time"], excess: vec!["-get"] });
    assert_eq!((both[0].level, both[1].level), (Level::Danger, Level::Note));
    let cure = "redis-cli -h 10.0.0.1 -p 6379 ACL SETUSER dictator '+client|kill' '+time', and the same";
    assert!(both[0].what.contains("lacks +client|kill +time") && both[0].cure.contains(cure), "{both:?}");
    assert!(both[1].cure.contains("'-get'"), "{both:?}");
    let unknown = of(Permissions::Unknown("ERR User 'x' not found".into()));
    assert!(unknown[0].what.contains("not found"), "{unknown:?}");
}

/// The page tells the whole user, and the doctor looks for just that.
#[test]
fn the_rules_are_those_of_the_page() {
    let page = include_str!("../../../../docs/redis-user.md");
    let line = page.lines().find(|line| line.starts_with("ACL SETUSER")).unwrap();
    for rule in RULES_OBSERVING {
        assert!(page.replace("\\|", "|").contains(rule), "{rule}");
    }
    let told = line.split_whitespace().filter(|word| word.starts_with('+'));
    let needed = RULES_NEEDED.iter().map(|(rule, _)| *rule);
    assert_eq!(
        told.collect::<std::collections::BTreeSet<_>>(),
        needed.collect::<std::collections::BTreeSet<_>>()
    );
}

#[test]
fn nodes_are_compared_with_their_master() {
    let master = sound(6379, true);
    let compared = |change: &dyn Fn(&mut Facts)| {
        let mut slave = sound(6380, false);
        change(&mut slave);
        let findings = examine(&[master.clone(), slave]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].place, "10.0.0.1:6380");
        findings[0].what.clone()
    };
    let older = compared(&|slave| drop(slave.info.insert("redis_version".into(), "6.2.14".into())));
    assert!(older.contains("it runs 6.2.14 and the master 7.0.15"), "{older}");
    let smaller = compared(&|slave| drop(slave.config.insert("maxmemory".into(), "1000".into())));
    assert!(smaller.contains("no room"), "{smaller}");
    let ahead = compared(&|slave| slave.clock_ahead_ms = Some(1500));
    assert!(ahead.contains("1497 ms ahead"), "{ahead}");
}

#[test]
fn a_slave_under_a_strange_address_is_noted() {
    let mut master = sound(6379, true);
    let line = |port: u16| format!("ip=10.0.0.1,port={port},state=online,offset=1,lag=0");
    master.info.insert("slave0".into(), line(6380));
    master.info.insert("slave_read_only".into(), "1".into());
    assert_eq!(examine(&[master.clone(), sound(6380, false)]), []);
    master.info.insert("slave1".into(), line(49_153));
    let findings = examine(&[master, sound(6380, false)]);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.contains("10.0.0.1:49153") && findings[0].cure.contains("replica-announce-ip"));
}

#[test]
fn the_cure_for_an_ipv6_node_can_be_pasted() {
    let node = Facts { endpoint: "[fd00::1]:6379".into(), ..with(&[("appendfsync", "no")]) };
    assert!(examine(&[node])[0].cure.starts_with("redis-cli -h fd00::1 -p 6379 CONFIG SET"));
}
