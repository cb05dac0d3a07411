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
