use super::*;

fn parse(text: &str) -> Result<Parsed, DocumentError> {
    Document::parse(text.as_bytes(), NODES_MAX_DEFAULT)
}

#[track_caller]
fn refused(text: &str, kind: DocumentErrorKind, pointer: &str, words: &str) {
    let error = parse(text).expect_err(text);
    assert_eq!(error.kind, kind, "{text}: {error:?}");
    let found =
        error.mistakes.iter().any(|mistake| mistake.pointer == pointer && mistake.detail.contains(words));
    assert!(found, "{text}: wanted {words:?} at {pointer:?}, got {error:?}");
}

#[test]
fn the_documented_example() {
    let parsed = parse(
        r#"{"master": {"address": "core-01.redis-1.docker"},
            "slaves": [{"address": "core-02.redis-1.docker"}, {"address": "10.0.0.4", "port": 6379}]}"#,
    )
    .unwrap();
    assert_eq!(parsed.warnings, Vec::<String>::new());
    let names: Vec<String> = parsed.document.nodes().map(ToString::to_string).collect();
    assert_eq!(names, ["core-01.redis-1.docker", "core-02.redis-1.docker", "10.0.0.4:6379"]);
    let again = Document::parse(parsed.document.to_json().to_string().as_bytes(), 3).unwrap();
    assert_eq!(again.document, parsed.document);
}

#[test]
fn malformed_json() {
    use DocumentErrorKind::MalformedJson as Kind;
    refused("", Kind, "", "body is empty");
    refused("{", Kind, "", "line 1 column 1");
    refused(&"[".repeat(100_000), Kind, "", "recursion limit");
    refused(r#"{"master":{"address":"a"},"slaves":[]} x"#, Kind, "", "trailing characters");
    refused("\u{feff}{}", Kind, "", "byte order mark");
    refused(r#"{"master":{"address":"\ud800"},"slaves":[]}"#, Kind, "", "hex escape");
    let error = Document::parse(b"{\"master\xff", 64).unwrap_err();
    assert_eq!(error.kind, Kind);
}

#[test]
fn malformed_topology() {
    use DocumentErrorKind::MalformedTopology as Kind;
    for text in ["[]", "null", "\"x\"", "42"] {
        refused(text, Kind, "", "expected an object");
    }
    refused("{}", Kind, "/master", "missing field `master`");
    refused(r#"{"master":{"address":"a"}}"#, Kind, "/slaves", "missing field `slaves`");
    refused(r#"{"master":null,"slaves":[]}"#, Kind, "/master", "found null");
    refused(
        r#"{"master":{"address":"a"},"slavs":[]}"#,
        Kind,
        "/slavs",
        "unknown field `slavs`, did you mean `slaves`?",
    );
    refused(
        r#"{"master":{"address":"a"},"master":{"address":"b"},"slaves":[]}"#,
        Kind,
        "/master",
        "duplicate field `master`",
    );
    refused(r#"{"master":["a",6379],"slaves":[]}"#, Kind, "/master", "expected an object");
    refused(r#"{"master":{"address":"a"},"slaves":[["b"]]}"#, Kind, "/slaves/0", "expected an object");
    for port in ["0", "-1", "65536", "6379.5", "\"6379\"", "1e3", "null"] {
        let text = format!(r#"{{"master":{{"address":"a","port":{port}}},"slaves":[]}}"#);
        refused(&text, Kind, "/master/port", "port must be an integer 1–65535");
    }
    refused(
        r#"{"master":{"address":"a"},"slaves":[],"discard":[{"address":"b","run_id":"x"}]}"#,
        Kind,
        "/discard/0/run_id",
        "40 hexadecimal digits",
    );
}

#[test]
fn addresses_and_nodes() {
    refused(
        r#"{"master":{"address":"a\r\nb"},"slaves":[]}"#,
        DocumentErrorKind::InvalidAddress,
        "/master/address",
        "U+000D at byte 1",
    );
    refused(
        r#"{"master":{"address":"a"},"slaves":[{"address":"A"}]}"#,
        DocumentErrorKind::DuplicateNode,
        "/slaves/0",
        "master and a slave",
    );
    let slaves: Vec<String> = (0..64).map(|index| format!(r#"{{"address":"n{index}"}}"#)).collect();
    let text = format!(r#"{{"master":{{"address":"a"}},"slaves":[{}]}}"#, slaves.join(","));
    refused(&text, DocumentErrorKind::TooManyNodes, "/slaves", "the limit is 64");
}

#[test]
fn a_slave_listed_twice_is_taken_once() {
    let parsed = parse(r#"{"master":{"address":"a"},"slaves":[{"address":"b"},{"address":"b"}]}"#).unwrap();
    assert_eq!(parsed.document.slaves.len(), 1);
    assert!(parsed.warnings[0].contains("more than once"));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let error = parse(r#"{"master":{"address":"a b"},"slaves":[{"address":"c","port":0},{"adress":"d"}]}"#)
        .unwrap_err();
    let places: Vec<&str> = error.mistakes.iter().map(|mistake| mistake.pointer.as_str()).collect();
    assert_eq!(places, ["/master/address", "/slaves/0/port", "/slaves/1/adress"]);
}

#[test]
fn groups_are_written_as_slaves() {
    use DocumentErrorKind::{InvalidAddress, MalformedTopology};
    let slaves = |list: &str| format!(r#"{{"master":{{"address":"a"}},"slaves":[{list}]}}"#);
    let parsed = parse(&slaves(r#"{"address":"b"},{"srv":"All.Docker."},{"address":"c","port":1}"#)).unwrap();
    assert_eq!(parsed.document.groups.len(), 1);
    assert_eq!(parsed.document.groups[0].pointer(), "/slaves/1/srv");
    let text = parsed.document.to_json().to_string();
    assert_eq!(text, slaves(r#"{"address":"b"},{"srv":"all.docker"},{"address":"c","port":1}"#));

    refused(
        &slaves(r#"{"srv":5}"#),
        MalformedTopology,
        "/slaves/0/srv",
        "expected a string, found the number 5",
    );
    refused(&slaves(r#"{"srv":null}"#), MalformedTopology, "/slaves/0/srv", "found null");
    refused(&slaves(r#"{"srv":""}"#), InvalidAddress, "/slaves/0/srv", "srv is empty");
    refused(&slaves(r#"{"srv":"a b"}"#), InvalidAddress, "/slaves/0/srv", "U+0020");
    refused(&slaves(r#"{"srv":"10.0.0.1"}"#), InvalidAddress, "/slaves/0/srv", "no SRV records");
    let long = ["a"; 127].join(".") + ".a";
    refused(&slaves(&format!(r#"{{"srv":"{long}"}}"#)), InvalidAddress, "/slaves/0/srv", "at most 253");
    refused(&slaves(r#"{"srv":"x","y":1}"#), MalformedTopology, "/slaves/0/y", "unknown field `y`");
    refused(&slaves(r#"{"srv":"x","srv":"y"}"#), MalformedTopology, "/slaves/0/srv", "duplicate field");
    refused(&slaves(r#"{"srv":"x","address":"y"}"#), MalformedTopology, "/slaves/0", "this one has both");
    refused(&slaves(r#"{"srv":"x","port":1}"#), MalformedTopology, "/slaves/0/port", "unknown field `port`");
    refused(&slaves(r#"{"srv":"x","members":5}"#), MalformedTopology, "/slaves/0/members", "an array");
    refused(
        &slaves(r#"{"srv":"x","members":[{"srv":"y"}]}"#),
        MalformedTopology,
        "/slaves/0/members/0/srv",
        "unknown field `srv`",
    );
    refused(r#"{"master":{"srv":"x"},"slaves":[]}"#, MalformedTopology, "/master/srv", "unknown field `srv`");
    let many: Vec<String> = (0..9).map(|index| format!(r#"{{"srv":"n{index}"}}"#)).collect();
    refused(&slaves(&many.join(",")), MalformedTopology, "/slaves", "the limit is 8");

    let twice = parse(&slaves(r#"{"srv":"x"},{"srv":"X"}"#)).unwrap();
    assert_eq!(twice.document.groups.len(), 1);
    assert!(twice.warnings[0].contains("more than once"));
}

#[test]
fn members_that_are_told_count_as_slaves_and_the_master_among_them_does_not() {
    let text = r#"{"master":{"address":"a"},
        "slaves":[{"srv":"x","members":[{"address":"c"},{"address":"a"},{"address":"b"}]},{"address":"b"}]}"#;
    let document = parse(text).unwrap().document;
    let names: Vec<String> = document.nodes().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "c", "b"]);
    let error = Document::parse(text.as_bytes(), 2).unwrap_err();
    assert_eq!(error.kind, DocumentErrorKind::TooManyNodes);
    let again: Document = serde_json::from_value(document.to_json()).unwrap();
    assert_eq!(again, document);
}

#[test]
fn documents_without_groups_are_recorded_as_ever() {
    let text = r#"{"master":{"address":"a"},"slaves":[{"address":"b","port":1}]}"#;
    let document: Document = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&document).unwrap(), text);
    assert!(serde_json::from_str::<Document>(r#"{"master":{"address":"a"},"slaves":[],"x":1}"#).is_err());
    assert!(
        serde_json::from_str::<Document>(r#"{"master":{"address":"a"},"slaves":[{"srv":"x","y":1}]}"#)
            .is_err()
    );
}
