//! Where the daemons are and how to speak to them: flag, else variable, else file, else default.
//!
//! The file has the form of the daemons' environment files, `NAME=value` by line, so that one file can be
//! used by a unit, a shell and this program. A name in it that does not exist is an error, and so is a
//! variable with our prefix: with `DICTATORCTL_ENDPOIN` misspelt, a command would go to the default
//! endpoint, and that may be another cluster. The token is never a flag, because every user of the host
//! can read command lines.

mod proof;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use coordination::Endpoints;
use service::config::{ETCD_SETTINGS, Secret, Setting, parse_duration};
use service::tls::ClientTls;

use crate::client::Endpoint;
use crate::exit::Failure;
use crate::output::Format;

/// What our variables begin with, without the underscore.
pub const ENV_PREFIX: &str = "DICTATORCTL";
/// The file that is read if none is named.
pub const FILE_DEFAULT: &str = "/etc/redis-dictator/dictatorctl.env";
/// Larger files are a mistake: somebody named the wrong one.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// The variable with the token.
pub const TOKEN_VARIABLE: &str = "DICTATORCTL_TOKEN";
/// Most endpoints, so that a command ends in a time that a person can wait.
const ENDPOINTS_MAX: usize = 8;
/// Longest time a command may be told to wait for an answer.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// The cluster in the keys if none is named; the dictator has the same default.
const CLUSTER_DEFAULT: &str = "redis-1";

/// The settings of every command.
pub const SETTINGS: &[Setting] = &[
    Setting {
        flag: "endpoint",
        value_name: "URL",
        default: Some("http://127.0.0.1:8080"),
        repeatable: true,
        help: "The dictators; of several the next is asked where one is away or has not the say",
        ..Setting::BLANK
    },
    Setting {
        flag: "cluster",
        value_name: "NAME",
        help: "Refuse to speak to the dictator of another cluster than this",
        ..Setting::BLANK
    },
    Setting {
        flag: "notify",
        value_name: "URL",
        repeatable: true,
        help: "Where apply and switch PUT the document after the dictator has taken it, such as dnsd's /dns",
        ..Setting::BLANK
    },
    Setting {
        flag: "etcd",
        value_name: "URL",
        repeatable: true,
        help: "Members of the etcd that holds the topology, for define, trigger and switch",
        ..Setting::BLANK
    },
    ETCD_SETTINGS[0],
    ETCD_SETTINGS[1],
    ETCD_SETTINGS[2],
    ETCD_SETTINGS[3],
    ETCD_SETTINGS[4],
    Setting {
        flag: "topology-key",
        value_name: "KEY",
        help: "The key of the document [default /config/<cluster, or redis-1>/topology]",
        ..Setting::BLANK
    },
    Setting {
        flag: "trigger-key",
        value_name: "KEY",
        help: "The key of the trigger [default that of the document and -trigger]",
        ..Setting::BLANK
    },
    Setting {
        flag: "token-file",
        value_name: "PATH",
        help: "File with the token that is sent as `Authorization: Bearer`",
        ..Setting::BLANK
    },
    Setting {
        flag: "ca-file",
        value_name: "PATH",
        help: "PEM file with the authority whose certificates are believed at https:// URLs",
        ..Setting::BLANK
    },
    Setting {
        flag: "client-cert",
        value_name: "PATH",
        help: "PEM file with our certificate for daemons that ask for one",
        ..Setting::BLANK
    },
    Setting {
        flag: "client-key",
        value_name: "PATH",
        help: "PEM file with that certificate's key",
        ..Setting::BLANK
    },
    Setting {
        flag: "timeout",
        value_name: "DURATION",
        default: Some("150s"),
        help: "Longest wait for an answer; reads have 20s at most",
        ..Setting::BLANK
    },
    Setting {
        flag: "output",
        value_name: "FORMAT",
        default: Some("table"),
        help: "table for people; json or yaml: what the daemon said",
        ..Setting::BLANK
    },
    Setting { flag: "yes", help: "Do not ask before a change", ..Setting::BLANK },
];

/// The settings, judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dictators.
    pub endpoints: Vec<Endpoint>,
    /// The cluster that is meant, if one is named.
    pub cluster: Option<String>,
    /// Where a document goes after the dictator has taken it.
    pub notify: Vec<Endpoint>,
    /// The etcd that holds the topology, if there is one.
    pub etcd: Option<Endpoints>,
    /// Its key of the document.
    pub topology_key: String,
    /// Its key of the trigger.
    pub trigger_key: String,
    /// The bearer token.
    pub token: Option<Secret>,
    /// How to connect to `https` endpoints.
    pub tls: Option<ClientTls>,
    /// Longest wait for the answer to a change.
    pub timeout: Duration,
    /// The form of answers.
    pub format: Format,
    /// Do not ask.
    pub yes: bool,
}

/// Values by flag as somebody wrote them, with the name of the place.
struct Sources<'a> {
    matches: &'a ArgMatches,
    environment: &'a BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    file_name: String,
    mistakes: Vec<String>,
}

/// Reads all settings.
///
/// # Errors
/// Every mistake at once, as wrong usage.
pub fn read(matches: &ArgMatches, environment: &BTreeMap<String, String>) -> Result<Settings, Failure> {
    let (file_name, file) = read_file(matches, environment)?;
    let mut sources = Sources { matches, environment, file, file_name, mistakes: Vec::new() };
    sources.refuse_unknown_names();
    let endpoints = sources.list("endpoint", Endpoint::parse);
    if endpoints.len() > ENDPOINTS_MAX {
        sources
            .mistakes
            .push(format!("{} endpoints are given; {ENDPOINTS_MAX} are the most", endpoints.len()));
    }
    let cluster = sources.one("cluster", parse_cluster);
    let notify = sources.list("notify", Endpoint::parse);
    let etcd = sources.etcd();
    let (topology_key, trigger_key) = sources.keys(cluster.as_deref());
    let token = sources.token();
    let private = endpoints.iter().chain(&notify).find(|endpoint| endpoint.is_private());
    let tls = sources.tls(private);
    let timeout = sources.one("timeout", parse_timeout);
    let format = sources.one("output", str::parse);
    let yes = matches.get_flag("yes") || sources.one("yes", parse_switch).unwrap_or(false);
    match (timeout, format) {
        (Some(timeout), Some(format)) if sources.mistakes.is_empty() => Ok(Settings {
            endpoints,
            cluster,
            notify,
            etcd,
            topology_key,
            trigger_key,
            token,
            tls,
            timeout,
            format,
            yes,
        }),
        _ => Err(Failure::usage(sources.mistakes.join("\ndictatorctl: "))),
    }
}

impl Sources<'_> {
    /// What was written for a setting, and where.
    fn written(&self, flag: &str) -> Vec<(String, String)> {
        let setting = setting(flag);
        if !setting.is_switch() && self.matches.value_source(flag) == Some(ValueSource::CommandLine) {
            let values = self.matches.get_many::<String>(flag).into_iter().flatten();
            return values.map(|text| (format!("--{flag}"), text.clone())).collect();
        }
        let name = setting.env_name(ENV_PREFIX);
        let set = |text: &&String| !text.trim().is_empty();
        if let Some(text) = self.environment.get(&name).filter(set) {
            return vec![(name, text.clone())];
        }
        if let Some(text) = self.file.get(&name).filter(set) {
            return vec![(format!("{name} in {}", self.file_name), text.clone())];
        }
        setting.default.map(|text| ("the default".to_owned(), text.to_owned())).into_iter().collect()
    }

    fn one<T, E: Display>(&mut self, flag: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let (place, text) = self.written(flag).pop()?;
        self.parsed(&place, &text, parse)
    }

    fn list<T, E: Display>(&mut self, flag: &str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let mut values = Vec::new();
        for (place, text) in self.written(flag) {
            for part in text.split([',', ' ', '\t']).filter(|part| !part.is_empty()) {
                values.extend(self.parsed(&place, part, &parse));
            }
        }
        values
    }

    fn parsed<T, E: Display>(
        &mut self,
        place: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(text).map_err(|error| self.mistakes.push(format!("{place} {text:?}: {error}"))).ok()
    }

    fn etcd(&mut self) -> Option<Endpoints> {
        let members = self.list("etcd", |text| Ok::<_, String>(text.to_owned()));
        if members.is_empty() {
            return None;
        }
        let security = self.etcd_security();
        let endpoints = Endpoints::parse(&members).and_then(|endpoints| endpoints.secured(security));
        endpoints.map_err(|error| self.mistakes.push(format!("--etcd: {error}"))).ok()
    }

    fn keys(&mut self, cluster: Option<&str>) -> (String, String) {
        let cluster = cluster.unwrap_or(CLUSTER_DEFAULT);
        let topology = self.one("topology-key", parse_key);
        let topology = topology.unwrap_or_else(|| format!("/config/{cluster}/topology"));
        let trigger = self.one("trigger-key", parse_key).unwrap_or_else(|| format!("{topology}-trigger"));
        if topology == trigger {
            self.mistakes.push(format!("{topology} is both the document's key and the trigger's"));
        }
        (topology, trigger)
    }

    fn refuse_unknown_names(&mut self) {
        let prefix = format!("{ENV_PREFIX}_");
        let known = |name: &str| {
            name == TOKEN_VARIABLE
                || name == proof::ETCD_PASSWORD_VARIABLE
                || name == FILE_VARIABLE
                || SETTINGS.iter().any(|setting| setting.env_name(ENV_PREFIX) == name)
        };
        let set = self.environment.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name);
        for name in set.filter(|name| name.starts_with(&prefix) && !known(name)) {
            self.mistakes.push(format!("the variable {name} is not a setting of dictatorctl"));
        }
        for name in self.file.keys().filter(|name| !known(name)) {
            self.mistakes.push(format!("{name} in {} is not a setting of dictatorctl", self.file_name));
        }
    }
}

/// The variable that names the file.
pub const FILE_VARIABLE: &str = "DICTATORCTL_CONFIG";

fn setting(flag: &str) -> &'static Setting {
    match SETTINGS.iter().find(|setting| setting.flag == flag) {
        Some(setting) => setting,
        None => panic!("--{flag} is not in the table of settings"),
    }
}

fn read_file(
    matches: &ArgMatches,
    environment: &BTreeMap<String, String>,
) -> Result<(String, BTreeMap<String, String>), Failure> {
    let named = matches.get_one::<String>("config").or_else(|| environment.get(FILE_VARIABLE));
    let named = named.filter(|path| !path.is_empty());
    let path = named.map_or_else(|| PathBuf::from(FILE_DEFAULT), PathBuf::from);
    let shown = path.display().to_string();
    let size = match std::fs::metadata(&path) {
        Ok(data) => data.len(),
        Err(_) if named.is_none() => return Ok((shown, BTreeMap::new())),
        Err(error) => return Err(Failure::usage(format!("--config {shown}: {error}"))),
    };
    if size > FILE_BYTES_MAX {
        return Err(Failure::usage(format!("--config {shown}: larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::usage(format!("the settings in {shown} cannot be read: {error}")))?;
    parse_file(&text).map(|values| (shown.clone(), values)).map_err(|line| {
        Failure::usage(format!("{shown}, line {line}: expected NAME=value, or a comment that begins with #"))
    })
}

/// `NAME=value` by line; `#` begins a comment line, quotes around a value are taken off.
fn parse_file(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut values = BTreeMap::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or(index + 1)?;
        let value = value.trim();
        let bare = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
            .unwrap_or(value);
        values.insert(name.trim().to_owned(), bare.to_owned());
    }
    Ok(values)
}

fn parse_cluster(text: &str) -> Result<String, &'static str> {
    let sound = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if text.chars().all(sound) {
        Ok(text.to_owned())
    } else {
        Err("a name is letters, digits, `.`, `_` and `-`")
    }
}

fn parse_key(text: &str) -> Result<String, &'static str> {
    let sound = text.bytes().all(|byte| byte.is_ascii_graphic());
    if sound { Ok(text.to_owned()) } else { Err("a key has no blanks") }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text)?;
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err(format!("more than 0 and at most {}s", TIMEOUT_MAX.as_secs()));
    }
    Ok(timeout)
}

fn parse_switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("expected true or false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;

    fn read_all(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, Failure> {
        let all = ["dictatorctl", "status"].iter().chain(arguments);
        let matches = crate::command_line::command().try_get_matches_from(all).unwrap();
        let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        read(matches.subcommand().unwrap().1, &environment)
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctl.env");
        #[allow(clippy::disallowed_methods, reason = "a test's file need not be durable")]
        std::fs::write(&path, text).unwrap();
        let shown = path.display().to_string();
        (folder, shown)
    }

    #[test]
    fn a_flag_wins_over_a_variable_a_variable_over_the_file_the_file_over_the_default() {
        let (_folder, path) =
            file("# ours\nDICTATORCTL_ENDPOINT=\"http://file:1\"\n\nDICTATORCTL_OUTPUT=yaml\n");
        let endpoint = |arguments: &[&str], variables: &[(&str, &str)]| {
            let settings = read_all(arguments, variables).unwrap();
            (settings.endpoints[0].to_string(), settings.format)
        };
        assert_eq!(endpoint(&[], &[]), ("http://127.0.0.1:8080".into(), Format::Table));
        let named = [("DICTATORCTL_CONFIG", path.as_str())];
        assert_eq!(endpoint(&[], &named), ("http://file:1".into(), Format::Yaml));
        let both = [named[0], ("DICTATORCTL_ENDPOINT", "http://variable:2")];
        assert_eq!(endpoint(&[], &both), ("http://variable:2".into(), Format::Yaml));
        let flags = ["--endpoint", "http://flag:3", "-o", "json"];
        assert_eq!(endpoint(&flags, &both), ("http://flag:3".into(), Format::Json));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let (_folder, path) = file("DICTATORCTL_ENDPONT=http://a\n");
        let failure = read_all(
            &["--endpoint", "ftp://a", "--timeout", "5", "-o", "xml", "--config", &path, "--cluster", "a/b"],
            &[("DICTATORCTL_TOKN", "x"), ("DICTATORCTL_TOKEN", "two words")],
        )
        .unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        for part in ["ftp://a", "--timeout", "--output", "ENDPONT", "TOKN", "TOKEN holds", "--cluster"] {
            assert!(failure.text.contains(part), "{part}: {}", failure.text);
        }
        assert!(!failure.text.contains("two words"), "a token is not printed");
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_sound() {
        assert!(read_all(&["--config", "/nonexistent"], &[]).unwrap_err().text.contains("/nonexistent"));
        let (_folder, path) = file("DICTATORCTL_OUTPUT=json\nnonsense\n");
        assert!(read_all(&["--config", &path], &[]).unwrap_err().text.contains("line 2"));
    }

    #[test]
    fn a_token_comes_from_a_file_or_a_variable_and_is_never_printed() {
        let (_folder, path) = file("tuesday\n");
        let settings = read_all(&["--token-file", &path], &[]).unwrap();
        assert_eq!(settings.token.as_ref().unwrap().expose(), "tuesday");
        assert!(!format!("{settings:?}").contains("tuesday"));
        let settings = read_all(&[], &[(TOKEN_VARIABLE, "wednesday")]).unwrap();
        assert_eq!(settings.token.unwrap().expose(), "wednesday");
    }
}
