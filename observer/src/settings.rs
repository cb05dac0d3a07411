//! The observer's settings: one table, and the relations between them.
//!
//! The names of the original etcd-trigger go on working, as flags (`--machines`, `--notifies`) and as
//! variables without a prefix.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use coordination::{Endpoints, Security};
use service::config::{ClientTlsFlags, Common, ETCD_SETTINGS, Exit, Program, Reader, Setting, Sound};

use topology::Address;

use crate::deliver::Proof;
use crate::notify_url::NotifyUrl;

/// Most URLs in a chain.
const NOTIFY_URLS_MAX: usize = 16;
/// Longest key of etcd that is accepted, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// The port of a name server (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;
/// Where the token comes from if no file is named: a systemd credential of this name.
const TOKEN_CREDENTIAL: &str = "notify-token";
/// Where it comes from if there is no credential either.
const TOKEN_VARIABLE: &str = "OBSERVER_NOTIFY_TOKEN";

/// The flags for `https` URLs.
const NOTIFY_TLS: ClientTlsFlags = ClientTlsFlags {
    what: "certificates for --notify",
    authority: "notify-ca-file",
    certificate: "notify-cert",
    key: "notify-key",
};

/// The table.
pub const PROGRAM: Program = Program {
    name: "observer",
    version: env!("CARGO_PKG_VERSION"),
    about: "Watches a trigger in etcd, or a file, and PUTs the topology it puts in force to each URL in order",
    env_prefix: "OBSERVER",
    listen_default: "127.0.0.1:8082",
    settings: &[
        Setting {
            flag: "etcd",
            value_name: "URL",
            repeatable: true,
            legacy_env: &["ETCD_MACHINES", "ETCD_PEERS"],
            legacy_flags: &["machines"],
            help: "Members of the etcd cluster, tried in this order",
            ..Setting::BLANK
        },
        ETCD_SETTINGS[0],
        ETCD_SETTINGS[1],
        ETCD_SETTINGS[2],
        ETCD_SETTINGS[3],
        ETCD_SETTINGS[4],
        Setting {
            flag: "trigger",
            value_name: "KEY",
            legacy_env: &["TRIGGER"],
            help: "The key whose every write puts the document in force",
            ..Setting::BLANK
        },
        Setting {
            flag: "read",
            value_name: "KEY",
            legacy_env: &["READ"],
            help: "The key that holds the document; without it the trigger's value is the document",
            ..Setting::BLANK
        },
        Setting {
            flag: "notify",
            value_name: "URL",
            repeatable: true,
            legacy_env: &["NOTIFIES"],
            legacy_flags: &["notifies"],
            help: "Where the document is PUT, one after the other, up to the first that does not answer 2xx",
            ..Setting::BLANK
        },
        Setting {
            flag: "retrigger",
            value_name: "KEY",
            legacy_env: &["RETRIGGER"],
            help: "A key to which the trigger's value is written after every success",
            ..Setting::BLANK
        },
        Setting {
            flag: "file",
            value_name: "PATH",
            help: "A file with the document, instead of etcd; applied on every change",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns",
            value_name: "IP[:PORT]",
            legacy_env: &["DNS"],
            help: "The name server at which URLs without a port are looked up as SRV",
            ..Setting::BLANK
        },
        Setting {
            flag: "dns-port",
            value_name: "PORT",
            legacy_env: &["DNS_PORT"],
            help: "The port of --dns where that names none (53)",
            ..Setting::BLANK
        },
        Setting {
            flag: "notify-token-file",
            value_name: "PATH",
            help: "File with the token that is shown to every URL; its role there must be operator",
            ..Setting::BLANK
        },
        Setting {
            flag: "notify-ca-file",
            value_name: "PATH",
            help: "PEM file with the authority whose certificates are believed at https:// URLs",
            ..Setting::BLANK
        },
        Setting {
            flag: "notify-cert",
            value_name: "PATH",
            help: "PEM file with our certificate for URLs that ask for one",
            ..Setting::BLANK
        },
        Setting {
            flag: "notify-key",
            value_name: "PATH",
            help: "PEM file with that certificate's key",
            ..Setting::BLANK
        },
        Setting {
            flag: "notify-timeout",
            value_name: "DURATION",
            default: Some("40s"),
            help: "Deadline of each URL; keep it longer than the dictator's --apply-timeout",
            ..Setting::BLANK
        },
        Setting {
            flag: "slow-retry",
            value_name: "DURATION",
            default: Some("30s"),
            help: "Interval of trying again after an answer that only somebody's action can change (409, 4xx)",
            ..Setting::BLANK
        },
        Setting {
            flag: "accept-revision",
            value_name: "REVISION",
            help: "Deliver the trigger at this revision although a later one was delivered before \
                   (after etcd was restored from a backup)",
            ..Setting::BLANK
        },
    ],
};

/// Everything the observer is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What every daemon is told.
    pub common: Common,
    /// Where triggers come from.
    pub source: SourceConfig,
    /// Who is notified, in this order.
    pub notify: Vec<NotifyUrl>,
    /// The name server for URLs without a port.
    pub dns: Option<SocketAddr>,
    /// How those who are notified know us, and we them.
    pub proof: Proof,
    /// Deadline of each URL.
    pub notify_timeout: Duration,
    /// Interval of retries after a no.
    pub slow_retry: Duration,
    /// The one revision that may be older than what was delivered.
    pub accept_revision: Option<u64>,
}

/// Where triggers come from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// A key in etcd.
    Etcd {
        /// The members.
        endpoints: Endpoints,
        /// The watched key.
        trigger: String,
        /// The key of the document; the trigger itself by default.
        read: String,
        /// The key written after success.
        retrigger: Option<String>,
    },
    /// A file.
    File {
        /// Which.
        path: PathBuf,
    },
}

impl AsRef<Common> for Config {
    fn as_ref(&self) -> &Common {
        &self.common
    }
}

/// Reads flags and variables.
///
/// # Errors
/// [`Exit`] with every mistake, or for `--help`, `--version`, `--check-config`.
pub fn read<I, T>(arguments: I, environment: &BTreeMap<String, String>) -> Result<Sound<Config>, Exit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let mut reader = PROGRAM.read(arguments, environment)?;
    let common = reader.common();
    let source = take_source(&mut reader);
    let notify = take_notify(&mut reader);
    let dns = take_dns(&mut reader);
    let proof = take_proof(&mut reader, notify.as_deref().unwrap_or_default());
    let notify_timeout = take_positive(&mut reader, "notify-timeout");
    let slow_retry = take_positive(&mut reader, "slow-retry");
    let accept_revision = reader.take::<u64>("accept-revision");
    let config = (|| {
        Some(Config {
            common: common?,
            source: source?,
            notify: notify?,
            dns,
            proof,
            notify_timeout: notify_timeout?,
            slow_retry: slow_retry?,
            accept_revision,
        })
    })();
    reader.finish(config)
}

fn take_source(reader: &mut Reader) -> Option<SourceConfig> {
    let machines: Vec<String> = reader.take_list("etcd");
    let trigger = take_key(reader, "trigger");
    let read = take_key(reader, "read");
    let retrigger = take_key(reader, "retrigger");
    let proof = reader.etcd_proof();
    if let Some(path) = reader.take::<PathBuf>("file") {
        let etcd_only = !machines.is_empty() || trigger.is_some() || read.is_some() || retrigger.is_some();
        if etcd_only {
            reader.mistake(
                "--file is used instead of etcd: leave out --etcd, --trigger, --read and --retrigger",
            );
        }
        return Some(SourceConfig::File { path });
    }
    if machines.is_empty() {
        reader.mistake("nothing to watch: give --etcd URL and --trigger KEY, or --file PATH");
        return None;
    }
    let security = Security::new(proof.files, proof.user);
    let endpoints = match Endpoints::parse(&machines).and_then(|endpoints| endpoints.secured(security)) {
        Ok(endpoints) => Some(endpoints),
        Err(error) => {
            reader.mistake(format!("--etcd: {error}"));
            None
        }
    };
    let Some(trigger) = trigger else {
        reader.mistake("--trigger is missing: the key whose writes put the document in force");
        return None;
    };
    let read = read.unwrap_or_else(|| trigger.clone());
    match &retrigger {
        Some(key) if *key == trigger => {
            reader.mistake(format!("--retrigger {key:?} is the trigger: it would loop for ever"));
        }
        Some(key) if *key == read => {
            reader.mistake(format!(
                "--retrigger {key:?} is the key of --read: it would overwrite the document"
            ));
        }
        _ => {}
    }
    Some(SourceConfig::Etcd { endpoints: endpoints?, trigger, read, retrigger })
}

fn take_key(reader: &mut Reader, flag: &'static str) -> Option<String> {
    reader.take_with(flag, |text| {
        if text.is_empty() || text.len() > KEY_BYTES_MAX || text.contains(char::is_control) {
            return Err(format!("a key is 1 to {KEY_BYTES_MAX} bytes without control characters"));
        }
        Ok(text.to_owned())
    })
}

fn take_notify(reader: &mut Reader) -> Option<Vec<NotifyUrl>> {
    let written: Vec<String> = reader.take_list("notify");
    if written.is_empty() {
        reader.mistake("nobody to notify: give --notify URL at least once, the dictator's before dnsd's");
        return None;
    }
    if written.len() > NOTIFY_URLS_MAX {
        reader.mistake(format!("{} URLs to notify; {NOTIFY_URLS_MAX} are the most", written.len()));
        return None;
    }
    let mut urls = Vec::new();
    for text in &written {
        match text.parse::<NotifyUrl>() {
            Ok(url) if urls.contains(&url) => {
                reader.mistake(format!("--notify {}: the same URL twice", without_secret(text)));
            }
            Ok(url) => urls.push(url),
            Err(error) => reader.mistake(format!("--notify {:?}: {error}", without_secret(text))),
        }
    }
    (urls.len() == written.len()).then_some(urls)
}

/// How those who are notified know us, and we them.
fn take_proof(reader: &mut Reader, urls: &[NotifyUrl]) -> Proof {
    let token = reader.token_source("notify-token-file", TOKEN_CREDENTIAL, TOKEN_VARIABLE);
    let private = urls.iter().find(|url| url.tls).map(ToString::to_string);
    let tls = reader.client_tls(NOTIFY_TLS, private.as_deref()).map(|files| files.tls);
    let open = |url: &&NotifyUrl| !url.tls && !matches!(url.host, Address::Ip(ip) if ip.is_loopback());
    if let Some(url) = urls.iter().find(open).filter(|_| token.is_some()) {
        reader
            .warning(format!("the token is sent to {url} in clear text; use https:// and --notify-ca-file"));
    }
    Proof { token, tls }
}

/// A URL as it may be printed: without what stands before an `@`.
fn without_secret(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => {
            format!("{scheme}://…@{}", rest.rsplit('@').next().unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

fn take_dns(reader: &mut Reader) -> Option<SocketAddr> {
    let port = reader.take_with("dns-port", |text| match text.parse::<u16>() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err("the port must be a number from 1 to 65535"),
    });
    let server = reader.take_with("dns", resolve::parse_name_server)?;
    // The port counts only where --dns names none; one that names 53 itself means the same.
    Some(match port {
        Some(port) if server.port() == DNS_PORT => SocketAddr::new(server.ip(), port),
        _ => server,
    })
}

fn take_positive(reader: &mut Reader, flag: &'static str) -> Option<Duration> {
    let duration = reader.take_duration(flag)?;
    if duration.is_zero() {
        reader.mistake(format!("--{flag} must not be zero"));
        return None;
    }
    Some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: [&str; 7] = [
        "observer",
        "--etcd",
        "http://a:1,http://b:2",
        "--trigger",
        "/t",
        "--notify",
        "http://127.0.0.1:8080/master http://127.0.0.1:8081/dns",
    ];

    fn with(more: &[&str]) -> Result<Sound<Config>, Exit> {
        let arguments: Vec<&str> = SOUND.iter().chain(more).copied().collect();
        read(arguments, &BTreeMap::new())
    }

    #[test]
    fn the_trigger_is_read_unless_another_key_is_named() {
        let config = with(&[]).unwrap().config;
        assert_eq!(config.notify.len(), 2);
        let SourceConfig::Etcd { endpoints, trigger, read, retrigger } = config.source else {
            panic!("etcd")
        };
        assert_eq!((trigger.as_str(), read.as_str(), retrigger), ("/t", "/t", None));
        assert_eq!(endpoints.count(), 2);
        let SourceConfig::Etcd { read, .. } = with(&["--read", "/d"]).unwrap().config.source else {
            panic!("etcd")
        };
        assert_eq!(read, "/d");
    }

    #[test]
    fn the_names_of_the_original_are_understood() {
        let environment: BTreeMap<String, String> = [
            ("ETCD_MACHINES", "http://127.0.0.1:4001"),
            ("TRIGGER", "/t"),
            ("READ", "/d"),
            ("NOTIFIES", "http://127.0.0.1:8080/master,http://127.0.0.1:8081/dns"),
            ("RETRIGGER", "/next"),
            ("DNS", "10.0.0.2"),
            ("DNS_PORT", "5353"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let sound = read(["observer"], &environment).unwrap();
        assert_eq!(sound.warnings, Vec::<String>::new());
        assert_eq!(sound.config.dns, Some("10.0.0.2:5353".parse().unwrap()));
        assert_eq!(sound.config.notify.len(), 2);
        let arguments = [
            "observer",
            "--machines",
            "a",
            "--trigger",
            "/t",
            "--notifies",
            "http://b/",
            "--notifies",
            "http://c/",
        ];
        assert_eq!(read(arguments, &BTreeMap::new()).unwrap().config.notify.len(), 2);
    }

    #[test]
    fn every_mistake_is_told_and_the_exit_code_is_64() {
        for (more, expected) in [
            (&["--retrigger", "/t"][..], "it would loop for ever"),
            (&["--read", "/d", "--retrigger", "/d"], "overwrite the document"),
            (&["--file", "/x"], "instead of etcd"),
            (&["--notify", "ftp://a/"], "only http:// and https://"),
            (&["--notify", "http:///a"], "names no host"),
            (&["--notify", "http://u:hunter2@a/"], "user name or password"),
            (&["--notify", "http://127.0.0.1:8081/dns"], "the same URL twice"),
            (&["--dns", "example.org"], "name server"),
            (&["--dns", "10.0.0.1", "--dns-port", "0"], "1 to 65535"),
            (&["--notify-timeout", "0s"], "must not be zero"),
            (&["--accept-revision", "soon"], "accept-revision"),
            (&["--etcd", "https://a"], "CA file"),
        ] {
            let exit = with(more).expect_err("must be refused");
            assert_eq!(exit.code, 64, "{more:?}");
            assert!(exit.stderr.contains(expected), "{more:?}: {}", exit.stderr);
            assert!(!exit.stderr.contains("hunter2"), "{}", exit.stderr);
        }
        let exit = read(["observer"], &BTreeMap::new()).expect_err("must be refused");
        assert!(exit.stderr.contains("nothing to watch") && exit.stderr.contains("nobody to notify"));
    }
}
