//! Users and configuration of a cluster's nodes, from one JSON document.
//!
//! Every node of a cluster gets the same two files, because every node can become the master: `users.acl` with
//! who may log in, and `redis.conf`, which is the one that ships (born unassigned) with the name and the
//! password by which a slave logs in at its master. Redis wants that one password in clear text; everything
//! else is in `users.acl` as SHA-256, so that who reads the file of a node has no password of an application.
//! A third file holds the dictator's own password for its `--redis-password-file`.
//!
//! Passwords never pass through a shell or a template: they are read from JSON or from files of their own,
//! hashed here, and the one in `redis.conf` is written in the quoted form that redis reads back byte by byte
//! (`sdssplitargs` in redis sds.c). So they may have any characters but line breaks and NUL, which the daemons'
//! password files cannot have. Names and patterns are held to what an ACL file can say, where blanks
//! separate rules: a blank in a key pattern would otherwise grant something else than was meant.
//!
//! This module is pure: it makes texts, [`crate::commands`] writes them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use service::config::{Secret, SecretError};

use crate::permissions::{NOTHING, RULES_ADMIN, RULES_APPLICATION, RULES_REPLICA, dictator_rules};

/// The shipped configuration of a node.
const REDIS_CONF: &str = include_str!("../../units/redis.conf");
/// Longest password, in bytes. Redis cuts off who sends more than 16 KiB before logging in.
const PASSWORD_BYTES_MAX: usize = 4096;
/// Longest name of a user, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most applications in one document.
const APPLICATIONS_MAX: usize = 1000;
/// Most patterns of keys, or of channels, of one application.
const PATTERNS_MAX: usize = 100;

/// What the document says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Slaves log in at their master as this one.
    replica: Login,
    /// The dictator's user.
    dictator: Login,
    /// A person with all rights.
    admin: Login,
    /// Everybody else.
    #[serde(default)]
    applications: Vec<Application>,
    /// Whether the dictator's user gets the rules that let it see more.
    #[serde(default)]
    observing: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    name: Option<String>,
    password: Option<String>,
    password_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Application {
    name: String,
    password: Option<String>,
    password_file: Option<String>,
    #[serde(default = "everything")]
    keys: Vec<String>,
    #[serde(default = "everything")]
    channels: Vec<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// The texts of the files. There is no `Debug`: two of them hold passwords.
pub struct Files {
    /// Who may log in at a node.
    pub users_acl: String,
    /// The configuration of every node.
    pub redis_conf: String,
    /// The dictator's password.
    pub dictator_password: String,
    /// The dictator's name at the nodes.
    pub dictator_name: String,
}

/// Makes the files.
///
/// `read` gets a password from a file; `acl_path` is where nodes will find `users.acl`.
///
/// # Errors
/// Every mistake in a sentence that names the member and never shows a password.
pub fn files(
    document: &[u8],
    acl_path: &str,
    read: impl Fn(&Path) -> Result<Secret, SecretError>,
) -> Result<Files, Vec<String>> {
    let document: Document = serde_json::from_slice(document).map_err(|error| vec![told(&error)])?;
    let mut maker = Maker { read, mistakes: Vec::new(), names: BTreeSet::new() };
    let mut users = String::from("user default off resetpass ");
    users.push_str(NOTHING);
    users.push('\n');
    let replica = maker.login("replica", &document.replica);
    let dictator = maker.login("dictator", &document.dictator);
    let admin = maker.login("admin", &document.admin);
    users.push_str(&line(&replica, &format!("{NOTHING} {RULES_REPLICA}")));
    users.push_str(&line(&dictator, &dictator_rules(document.observing)));
    users.push_str(&line(&admin, &format!("{NOTHING} {RULES_ADMIN}")));
    if document.applications.len() > APPLICATIONS_MAX {
        maker.mistakes.push(format!("applications: {APPLICATIONS_MAX} are the most"));
    }
    for (index, application) in document.applications.iter().enumerate() {
        users.push_str(&maker.application(&format!("applications[{index}]"), application));
    }
    if let Err(reason) = check_path(acl_path) {
        maker.mistakes.push(format!("the path of users.acl {acl_path:?} {reason}"));
    }
    if !maker.mistakes.is_empty() {
        return Err(maker.mistakes);
    }
    Ok(Files {
        users_acl: users,
        redis_conf: format!(
            "{REDIS_CONF}\n# Who may log in, and as whom a slave logs in at its master.\naclfile {}\nmasteruser {}\nmasterauth {}\n",
            quoted(acl_path),
            replica.name,
            quoted(&replica.password)
        ),
        dictator_password: format!("{}\n", dictator.password),
        dictator_name: dictator.name,
    })
}

/// What is wrong with the JSON. A text of the wrong kind is not repeated: it may be a password.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let harmless = ["unknown field", "missing field", "duplicate field"];
    if error.is_data() && !harmless.iter().any(|start| text.starts_with(start)) {
        return format!("line {} column {}: something else is expected here", error.line(), error.column());
    }
    text
}

/// A user with a name and a password that can be used.
struct User {
    name: String,
    password: String,
}

struct Maker<R> {
    read: R,
    mistakes: Vec<String>,
    names: BTreeSet<String>,
}

impl<R: Fn(&Path) -> Result<Secret, SecretError>> Maker<R> {
    fn login(&mut self, place: &str, login: &Login) -> User {
        let name = login.name.as_deref().unwrap_or(place);
        self.user(place, name, login.password.as_deref(), login.password_file.as_deref())
    }

    fn user(&mut self, place: &str, name: &str, password: Option<&str>, file: Option<&str>) -> User {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(known) {
            self.mistakes.push(format!(
                "{place}: the name {name:?} is not 1 to {NAME_BYTES_MAX} letters, digits, `_`, `-`, `.` or `@`"
            ));
        } else if name == "default" {
            self.mistakes.push(format!("{place}: the user `default` is switched off; choose another name"));
        } else if !self.names.insert(name.to_owned()) {
            self.mistakes.push(format!("{place}: a user `{name}` is there already"));
        }
        let secret = match (password, file) {
            (Some(text), None) => Secret::new(text).map_err(|error| format!("the password {error}")),
            (None, Some(path)) => (self.read)(Path::new(path)).map_err(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                format!("the password in {path} {error}{}", cause.unwrap_or_default())
            }),
            _ => Err("give either `password` or `password_file`".to_owned()),
        };
        let password = secret.map(|secret| secret.expose().to_owned()).unwrap_or_else(|reason| {
            self.mistakes.push(format!("{place}: {reason}"));
            String::new()
        });
        if password.len() > PASSWORD_BYTES_MAX {
            self.mistakes.push(format!("{place}: the password is longer than {PASSWORD_BYTES_MAX} bytes"));
        }
        User { name: name.to_owned(), password }
    }

    fn application(&mut self, place: &str, application: &Application) -> String {
        let (password, file) = (application.password.as_deref(), application.password_file.as_deref());
        let user = self.user(place, &application.name, password, file);
        let mut rules = NOTHING.to_owned();
        for (kind, sign, patterns) in
            [("keys", '~', &application.keys), ("channels", '&', &application.channels)]
        {
            if patterns.len() > PATTERNS_MAX {
                self.mistakes.push(format!("{place}/{kind}: {PATTERNS_MAX} patterns are the most"));
            }
            for pattern in patterns {
                if pattern.is_empty() || pattern.chars().any(|c| c.is_whitespace() || c.is_control()) {
                    self.mistakes.push(format!("{place}/{kind}: {pattern:?} is empty or has a blank"));
                }
                // `resetkeys` and `resetchannels` came before, so that these are all there are.
                let _ = write!(rules, " {sign}{pattern}");
            }
        }
        line(&user, &format!("{rules} {RULES_APPLICATION}"))
    }
}

/// A line of an ACL file.
fn line(user: &User, rules: &str) -> String {
    let mut hash = String::new();
    for byte in digest(&SHA256, user.password.as_bytes()).as_ref() {
        // Writing to a text cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    format!("user {} on #{hash} {rules}\n", user.name)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("is not absolute; redis would look for it in its data folder");
    }
    if path.chars().any(char::is_control) {
        return Err("has a control character");
    }
    Ok(())
}

/// As redis reads an argument in double quotes back, byte by byte.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
