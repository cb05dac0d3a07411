//! The commands that are sent, each with the rule that permits it.
//!
//! Whatever leaves this crate towards a node is built here, so that this file is the whole list.
//! `REPLICAOF` in particular takes a number and a port, never a text from a document: redis accepts
//! line ends in a host name and would write them into its configuration file.

use redis::{Cmd, cmd};
use topology::command::Assignment;
use topology::observation::SessionId;

use crate::settings::Credentials;

/// Nothing can listen on port 0: a node that follows it follows nobody and keeps its data.
const PARKED: (&str, &str) = ("127.0.0.1", "0");
/// A channel that nobody listens to, for telling whether writes are held back.
const PROBE_CHANNEL: &str = "__dictator__:pause-probe";

/// One command with its words.
#[derive(Clone)]
pub(crate) struct Line {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// The ACL rule that permits it.
    pub(crate) rule: &'static str,
    words: Vec<Word>,
}

/// A word of a command; a password is kept from being printed by never deriving `Debug` here.
#[derive(Clone)]
enum Word {
    Fixed(&'static str),
    Built(String),
}

impl Line {
    /// Stands for what a node says before anything was asked.
    pub(crate) const GREETING: Self = Self { name: "the connection", rule: "", words: Vec::new() };

    fn fixed(name: &'static str, rule: &'static str, words: &[&'static str]) -> Self {
        Self { name, rule, words: words.iter().map(|word| Word::Fixed(word)).collect() }
    }

    fn with(mut self, word: String) -> Self {
        self.words.push(Word::Built(word));
        self
    }

    /// The command for the client library.
    pub(crate) fn command(&self) -> Cmd {
        let mut words = self.words.iter().map(|word| match word {
            Word::Fixed(text) => *text,
            Word::Built(text) => text.as_str(),
        });
        let mut command = cmd(words.next().unwrap_or_default());
        for word in words {
            command.arg(word);
        }
        command
    }

    pub(crate) fn auth(credentials: &Credentials) -> Self {
        let line = Self::fixed("AUTH", "+auth", &["AUTH"]);
        let line = match &credentials.username {
            Some(username) => line.with(username.clone()),
            None => line,
        };
        line.with(credentials.password.expose().to_owned())
    }

    pub(crate) fn set_name(name: &str) -> Self {
        Self::fixed("CLIENT SETNAME", "+client|setname", &["CLIENT", "SETNAME"]).with(name.to_owned())
    }

    pub(crate) fn client_id() -> Self {
        Self::fixed("CLIENT ID", "+client|id", &["CLIENT", "ID"])
    }

    pub(crate) fn client_list() -> Self {
        Self::fixed("CLIENT LIST", "+client|list", &["CLIENT", "LIST"])
    }

    pub(crate) fn kill(id: SessionId) -> Self {
        Self::fixed("CLIENT KILL", "+client|kill", &["CLIENT", "KILL", "ID"]).with(id.0.to_string())
    }

    pub(crate) fn pause_writes(budget_ms: u64) -> Self {
        let line = Self::fixed("CLIENT PAUSE", "+client|pause", &["CLIENT", "PAUSE"]);
        let mut line = line.with(budget_ms.to_string());
        line.words.push(Word::Fixed("WRITE"));
        line
    }

    pub(crate) fn unpause() -> Self {
        Self::fixed("CLIENT UNPAUSE", "+client|unpause", &["CLIENT", "UNPAUSE"])
    }

    pub(crate) fn info() -> Self {
        Self::fixed("INFO", "+info", &["INFO"])
    }

    pub(crate) fn info_all() -> Self {
        Self::fixed("INFO", "+info", &["INFO", "all"])
    }

    pub(crate) fn time() -> Self {
        Self::fixed("TIME", "+time", &["TIME"])
    }

    pub(crate) fn sentinel_subscribers() -> Self {
        Self::fixed("PUBSUB NUMSUB", "+pubsub|numsub", &["PUBSUB", "NUMSUB", "__sentinel__:hello"])
    }

    pub(crate) fn config_get(setting: &'static str) -> Self {
        Self::fixed("CONFIG GET", "+config|get", &["CONFIG", "GET", setting])
    }

    pub(crate) fn write_commands() -> Self {
        Self::fixed("ACL CAT", "+acl|cat", &["ACL", "CAT", "write"])
    }

    pub(crate) fn multi() -> Self {
        Self::fixed("MULTI", "+multi", &["MULTI"])
    }

    pub(crate) fn exec() -> Self {
        Self::fixed("EXEC", "+exec", &["EXEC"])
    }

    pub(crate) fn publish_probe() -> Self {
        Self::fixed("PUBLISH", "+publish", &["PUBLISH", PROBE_CHANNEL, "probe"])
    }

    pub(crate) fn replicaof(to: Assignment) -> Self {
        let line = |host: String, port: String| Self::replicaof_words().with(host).with(port);
        match to {
            Assignment::Parked => line(PARKED.0.to_owned(), PARKED.1.to_owned()),
            Assignment::Master => line("NO".to_owned(), "ONE".to_owned()),
            Assignment::SlaveOf(leader) => line(leader.ip().to_string(), leader.port().to_string()),
        }
    }

    /// Commands that change a role, with words no node can carry out. Permission and name are
    /// checked before the words are, so the answer tells whether the real ones would be let
    /// through: `REPLICAOF` fails at its port, `CLIENT PAUSE` at its time, `CLIENT KILL` at its id.
    /// The id is a word and not 0, which redis 6.2 takes for no id at all and kills everyone.
    pub(crate) fn rehearsal() -> Vec<Self> {
        let none = || "rehearsal".to_owned();
        vec![
            Self::replicaof_words().with(none()).with(none()),
            Self::fixed("CLIENT PAUSE", "+client|pause", &["CLIENT", "PAUSE", "rehearsal", "WRITE"]),
            Self::fixed("CLIENT KILL", "+client|kill", &["CLIENT", "KILL", "ID", "rehearsal"]),
        ]
    }

    fn replicaof_words() -> Self {
        Self::fixed("REPLICAOF", "+replicaof", &["REPLICAOF"])
    }
}
