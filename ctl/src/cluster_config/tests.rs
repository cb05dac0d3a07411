//! What a document may say, and how it is told what it may not.

use std::path::Path;

use service::config::{Secret, SecretError};

use super::{Files, files, quoted};

const GOOD: &str = r#"{"replica": {"password": "r-secret"}, "dictator": {"password": "d-secret"},
    "admin": {"name": "root", "password_file": "/a"},
    "applications": [{"name": "shop", "password": "s-secret", "keys": ["shop:*"], "channels": []}]}"#;

fn read(_: &Path) -> Result<Secret, SecretError> {
    Secret::new("from-a-file\n")
}

fn made(document: &str) -> Result<Files, String> {
    files(document.as_bytes(), "/etc/users.acl", read).map_err(|mistakes| mistakes.join("\n"))
}

fn mistakes(document: &str) -> String {
    made(document).err().unwrap_or_else(|| panic!("nothing is wrong with {document}"))
}

#[test]
fn every_user_has_its_line_and_no_password_is_in_it() {
    let Ok(files) = made(GOOD) else { panic!("it is good") };
    let names: Vec<&str> = files.users_acl.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(names, ["default", "replica", "dictator", "root", "shop"]);
    assert!(!files.users_acl.contains("secret") && !files.users_acl.contains("from-a-file"));
    assert!(files.users_acl.starts_with("user default off "));
    assert!(files.users_acl.contains(" ~shop:* +@all -@admin"), "{}", files.users_acl);
    assert!(files.redis_conf.ends_with("masteruser replica\nmasterauth \"r-secret\"\n"));
    assert!(!files.redis_conf.contains("d-secret"));
    assert_eq!(files.dictator_password, "d-secret\n");
    // printf from-a-file | sha256sum
    let hash = "user root on #cbfc3c40dbb66eaa6dab7f3a999bc65b1a34ca24f47f5cf4a2dc31651b49310a ";
    assert!(files.users_acl.contains(hash), "{}", files.users_acl);
}

#[test]
fn mistakes_are_told_together_and_never_with_a_password() {
    let told = mistakes(
        r#"{"replica": {"password": "secret\nsecret"}, "dictator": {}, "admin": {"name": "a b", "password": "x"},
            "applications": [{"name": "default", "password": "x", "keys": ["a b"]},
                             {"name": "replica", "password": "x", "channels": [""]},
                             {"name": "c", "password": "x", "password_file": "y"}]}"#,
    );
    for part in [
        "replica: the password has a line break inside",
        "dictator: give either `password` or `password_file`",
        "admin: the name \"a b\" is not 1 to 64 letters",
        "applications[0]: the user `default` is switched off",
        "applications[0]/keys: \"a b\" is empty or has a blank",
        "applications[1]: a user `replica` is there already",
        "applications[1]/channels: \"\" is empty",
        "applications[2]: give either",
    ] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn documents_that_are_none() {
    for (document, part) in [
        ("", "EOF while parsing"),
        ("{}", "missing field `replica`"),
        (r#"{"replica": {"pasword": "hidden"}}"#, "unknown field `pasword`"),
        (r#"{"replica": "hidden"}"#, "line 1 column 20: something else is expected here"),
        (&format!(r#"{{"replica": {{"password": "{}"}}}}"#, "x".repeat(10)), "missing field `dictator`"),
        (&GOOD.replace("s-secret", &"x".repeat(4097)), "longer than 4096 bytes"),
        (&GOOD.replace("r-secret", ""), "replica: the password is empty"),
        (&GOOD.replace("\"name\": \"shop\"", "\"name\": \"a\\\" +@all\""), "the name \"a\\\" +@all\""),
    ] {
        let told = mistakes(document);
        assert!(told.contains(part), "no {part:?} in {told:?}");
        assert!(!told.contains("hidden"), "{told}");
    }
    assert!(files(GOOD.as_bytes(), "users.acl", read).is_err(), "a relative path");
}

#[test]
fn quoting_is_that_of_redis() {
    assert_eq!(quoted("a b#$!()'"), r#""a b#$!()'""#);
    assert_eq!(quoted("\"\\\tß"), r#""\"\\\x09\xc3\x9f""#);
}
