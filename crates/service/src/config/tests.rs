//! Settings from every source, and every mistake at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

const PROGRAM: Program = Program {
    name: "dnsd",
    version: "1.2.3",
    about: "publishes",
    env_prefix: "DNSD",
    listen_default: "127.0.0.1:8081",
    settings: &[
        Setting {
            flag: "domain",
            value_name: "NAME",
            legacy_env: &["PUBLISH_DOMAIN"],
            default: Some("redis-1.docker"),
            help: "What is published",
            ..Setting::BLANK
        },
        Setting {
            flag: "ttl-refresh",
            value_name: "DURATION",
            legacy_env: &["TTL_REFRESH"],
            legacy_flags: &["refresh"],
            default: Some("15s"),
            help: "How often names are looked up again",
            ..Setting::BLANK
        },
        Setting {
            flag: "nameservers",
            value_name: "IP[:PORT]",
            legacy_env: &["NAMESERVERS"],
            repeatable: true,
            help: "Whom to ask",
            ..Setting::BLANK
        },
        Setting { flag: "ignore-sentinel", help: "Do not look for Sentinels", ..Setting::BLANK },
        Setting {
            flag: "password-file",
            value_name: "PATH",
            help: "Where the password is",
            ..Setting::BLANK
        },
    ],
};

#[derive(Debug)]
struct Config {
    common: Common,
    domain: String,
    refresh: Duration,
    nameservers: Vec<DnsServer>,
    ignore_sentinel: bool,
    password: Option<Secret>,
}

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Sound<Config>, Exit> {
    let environment: BTreeMap<_, _> =
        environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let mut reader = PROGRAM.read(std::iter::once("dnsd").chain(arguments.iter().copied()), &environment)?;
    let common = reader.common();
    let domain = reader.take("domain");
    let refresh = reader.take_duration("ttl-refresh");
    let nameservers = reader.take_list("nameservers");
    let ignore_sentinel = reader.take_switch("ignore-sentinel");
    let password = reader.secret("password-file", "redis-password", "DNSD_PASSWORD");
    let config = (|| {
        Some(Config {
            common: common?,
            domain: domain?,
            refresh: refresh?,
            nameservers,
            ignore_sentinel,
            password,
        })
    })();
    reader.finish(config)
}

fn sound(arguments: &[&str], environment: &[(&str, &str)]) -> Config {
    read(arguments, environment).unwrap_or_else(|exit| panic!("{}", exit.stderr)).config
}

fn mistakes(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let exit = read(arguments, environment).unwrap_err();
    assert_eq!((exit.code, exit.stdout.as_str()), (EXIT_USAGE, ""));
    exit.stderr
}

#[test]
fn defaults_alone_are_enough() {
    let config = sound(&[], &[]);
    assert_eq!(config.domain, "redis-1.docker");
    assert_eq!(config.refresh, Duration::from_secs(15));
    assert!(config.nameservers.is_empty() && !config.ignore_sentinel && config.password.is_none());
    assert_eq!(config.common.listen, "127.0.0.1:8081".parse().unwrap());
    assert_eq!(config.common.state_dir, PathBuf::from("/var/lib/redis-dnsd"));
}

#[test]
fn a_flag_wins_over_a_variable_over_the_originals_over_the_default() {
    let original = ("PUBLISH_DOMAIN", "original");
    let own = ("DNSD_DOMAIN", "own");
    assert_eq!(sound(&[], &[original]).domain, "original");
    assert_eq!(sound(&[], &[original, own]).domain, "own");
    assert_eq!(sound(&["--domain", "flag"], &[original, own]).domain, "flag");
    assert_eq!(sound(&[], &[original, ("DNSD_DOMAIN", "")]).domain, "original", "an empty variable is unset");
    assert_eq!(sound(&["--refresh=2m"], &[]).refresh, Duration::from_secs(120), "a flag of the originals");
}

#[test]
fn lists_take_commas_blanks_and_repetition() {
    let expected: Vec<DnsServer> =
        ["10.0.0.1", "10.0.0.2:5353", "10.0.0.3"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(
        sound(&["--nameservers", "10.0.0.1,10.0.0.2:5353", "--nameservers", "10.0.0.3"], &[]).nameservers,
        expected
    );
    assert_eq!(sound(&[], &[("NAMESERVERS", " 10.0.0.1 10.0.0.2:5353,, 10.0.0.3 ")]).nameservers, expected);
}

#[test]
fn switches_by_flag_and_variable() {
    assert!(sound(&["--ignore-sentinel"], &[]).ignore_sentinel);
    assert!(sound(&[], &[("DNSD_IGNORE_SENTINEL", "yes")]).ignore_sentinel);
    assert!(!sound(&[], &[("DNSD_IGNORE_SENTINEL", "0")]).ignore_sentinel);
    assert!(
        mistakes(&[], &[("DNSD_IGNORE_SENTINEL", "maybe")])
            .contains("DNSD_IGNORE_SENTINEL \"maybe\": expected true")
    );
}

#[test]
fn every_mistake_is_told_at_one_start() {
    let told = mistakes(
        &["--listen", "localhost:80", "--log", "loud=loud", "--nameservers", "10.0.0.1,dns"],
        &[("TTL_REFRESH", "15"), ("DNSD_LOG_FORMAT", "xml")],
    );
    for part in [
        "--listen \"localhost:80\": expected an IP address and a port",
        "--log \"loud=loud\": expected a level",
        "--nameservers \"dns\": expected an IP address",
        "TTL_REFRESH \"15\": expected a number and its unit",
        "DNSD_LOG_FORMAT \"xml\": expected text or json",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}

#[test]
fn listening_beyond_loopback_needs_a_word() {
    for address in ["0.0.0.0:8080", "10.0.0.1:8080", "[::]:8080"] {
        let told = mistakes(&["--listen", address], &[]);
        assert!(told.contains("--insecure-no-auth"), "{told}");
        assert!(sound(&["--listen", address, "--insecure-no-auth"], &[]).common.insecure_no_auth);
    }
    sound(&["--listen", "[::1]:8080"], &[]);
    sound(&["--listen", "127.9.9.9:0"], &[]);
}

#[test]
fn the_state_folder_comes_from_systemd_unless_set() {
    let systemd = ("STATE_DIRECTORY", "/var/lib/first:/var/lib/second");
    assert_eq!(sound(&[], &[systemd]).common.state_dir, PathBuf::from("/var/lib/first"));
    assert_eq!(sound(&["--state-dir", "/srv"], &[systemd]).common.state_dir, PathBuf::from("/srv"));
    assert_eq!(sound(&[], &[("STATE_DIRECTORY", "")]).common.state_dir, PathBuf::from("/var/lib/redis-dnsd"));
}

#[test]
fn unknown_variables_with_our_prefix_are_warned_about() {
    let warnings = read(&[], &[("DNSD_TLL", "5"), ("DNSD_PASSWORD", "x"), ("DNSDX_A", "1"), ("HOME", "/")])
        .unwrap()
        .warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("DNSD_TLL"));
}

#[test]
fn unknown_flags_are_refused_with_a_suggestion() {
    let told = mistakes(&["--domian", "x"], &[]);
    assert!(told.contains("--domian") && told.contains("--domain"), "{told}");
    mistakes(&["stray"], &[]);
    mistakes(&["--domain"], &[]);
    mistakes(&["--domain", "a", "--domain", "b"], &[]);
}

#[test]
fn help_tells_flag_variable_default_and_meaning() {
    let exit = read(&["--help"], &[]).unwrap_err();
    assert_eq!((exit.code, exit.stderr.as_str()), (0, ""));
    for part in [
        "--ttl-refresh <DURATION>",
        "DNSD_TTL_REFRESH",
        "15s",
        "How often names are looked up again",
        "--check-config",
        "/var/lib/redis-dnsd",
    ] {
        assert!(exit.stdout.contains(part), "{part} is missing in:\n{}", exit.stdout);
    }
    assert!(!exit.stdout.contains("--refresh"), "the originals' names are not shown");
    assert_eq!(read(&["--version"], &[]).unwrap_err().stdout, "dnsd 1.2.3\n");
}

#[test]
fn a_check_says_sound_or_tells_the_mistakes() {
    let exit = read(&["--check-config"], &[("DNSD_TLL", "5")]).unwrap_err();
    assert_eq!((exit.code, exit.stdout.as_str()), (0, "configuration is sound\n"));
    assert!(exit.stderr.contains("DNSD_TLL"));
    mistakes(&["--check-config", "--ttl-refresh", "soon"], &[]);
}

#[test]
fn a_secret_comes_from_file_credential_or_variable_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    write(&file, "from file\n");
    write(&folder.path().join("redis-password"), "from credential\n");
    let credentials = ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap());
    let variable = ("DNSD_PASSWORD", "from variable");
    let flag = ["--password-file", file.to_str().unwrap()];
    let password =
        |arguments: &[&str], environment: &[(&str, &str)]| sound(arguments, environment).password.unwrap();
    assert_eq!(password(&flag, &[credentials, variable]).expose(), "from file");
    assert_eq!(password(&[], &[credentials, variable]).expose(), "from credential");
    assert_eq!(password(&[], &[variable]).expose(), "from variable");
    write(&file, "two\nlines\n");
    assert!(mistakes(&flag, &[]).contains("has a line break inside"));
    let told = mistakes(&["--password-file", "/nowhere/at/all"], &[]);
    assert!(told.contains("/nowhere/at/all") && told.contains("No such file"), "{told}");
    assert!(!mistakes(&[], &[("DNSD_PASSWORD", "hunter2\nhunter3")]).contains("hunter"));
}

#[allow(clippy::disallowed_methods, reason = "a file of a test need not be durable")]
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
