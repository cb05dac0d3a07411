//! Calls that are right, for tests in which it is the server that is wrong.

/// Every command that asks a dictator. `status --watch` is none of them: it goes on without a server, until it is ended.
pub const ASKING: [&[&str]; 14] = [
    &["status"],
    &["status", "-o", "json"],
    &["master"],
    &["history"],
    &["show"],
    &["plan", "-"],
    &["apply", "-"],
    &["switch", "core-02"],
    &["watch"],
    &["pause", "--for", "1h"],
    &["resume"],
    &["doctor"],
    &["doctor", "cluster"],
    &["redis-cli", "--", "PING"],
];

/// What those get on standard input that read a document.
pub const DOCUMENT: &str = r#"{"master": {"address": "127.0.0.1", "port": 1}, "slaves": []}"#;
