//! Our three daemons as processes of their own, on free ports, each with a state folder that lives
//! as long as the value does: `kill` and `start_again` keep port and state, as a restart would.
//!
//! When a daemon is dropped its log is read, and a WARN or ERROR line that was not announced with
//! [`Daemon::allow_log`] fails the test. When the test is failing anyway, the end of the log is
//! shown instead.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::binaries::binary;
use crate::certificates::{Authority, Pair, Trust};
use crate::dns::{self, Message, RecordType};
use crate::http::{Http, HttpAnswer};
use crate::logs::{self, Allowed};
use crate::ports::free_address;
use crate::process::{Process, Recipe};
use crate::wait::wait_until;

/// The domain the harness lets dnsd publish.
pub const DOMAIN: &str = "redis-1.test";
/// The trigger key the harness lets the observer watch.
pub const TRIGGER_KEY: &str = "/config/redis-1/topology-trigger";
/// The key the harness lets the observer read.
pub const TOPOLOGY_KEY: &str = "/config/redis-1/topology";

/// How long a daemon may take until it answers `GET /healthz`.
const READY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a daemon may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Attempts to start on fresh ports, should another process take one in between.
const STARTS_MAX: usize = 5;

/// What is told to a daemon beyond its addresses and state folder.
#[derive(Clone, Debug, Default)]
pub struct DaemonOptions {
    /// Flags and their values.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Whom the harness believes when it asks the daemon by TLS; without it, it asks in clear text.
    trust: Option<Trust>,
    allowed: Vec<Allowed>,
}

impl DaemonOptions {
    /// Nothing beyond the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// With `flag value`.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &str) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// With a flag that has no value.
    #[must_use]
    pub fn switch(mut self, flag: &str) -> Self {
        self.arguments.push(flag.to_owned());
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a certificate of this authority on the HTTP face, which the harness then asks by TLS.
    #[must_use]
    pub fn private(mut self, authority: &Authority, pair: &Pair) -> Self {
        self.trust = Some(authority.trust());
        self.flag("--tls-cert", pair.certificate()).flag("--tls-key", pair.key())
    }

    /// Announces WARN or ERROR lines that contain `part`, and says why a human is rightly told.
    #[must_use]
    pub fn allow_log(mut self, part: &str, reason: &str) -> Self {
        self.allowed.push(Allowed { part: part.to_owned(), reason: reason.to_owned() });
        self
    }
}

/// One running daemon.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    http: Http,
    private: bool,
    dns: SocketAddr,
    allowed: Vec<Allowed>,
    folder: TempDir,
}

impl Daemon {
    /// Starts a dictator and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn dictator(options: &DaemonOptions) -> Self {
        Self::start("dictator", options, &|_| Vec::new())
    }

    /// Starts a dnsd that publishes [`DOMAIN`] and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn dnsd(options: &DaemonOptions) -> Self {
        Self::start("dnsd", options, &|dns| {
            vec!["--dns-listen".into(), dns.to_string(), "--domain".into(), DOMAIN.into()]
        })
    }

    /// Starts an observer of [`TRIGGER_KEY`] and [`TOPOLOGY_KEY`] in the etcd at `etcd_url`, which
    /// notifies `notify` in order, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn observer(etcd_url: &str, notify: &[String], options: &DaemonOptions) -> Self {
        let mut own = options.clone().flag("--etcd", etcd_url);
        own = own.flag("--trigger", TRIGGER_KEY).flag("--read", TOPOLOGY_KEY);
        for url in notify {
            own = own.flag("--notify", url);
        }
        Self::start("observer", &own, &|_| Vec::new())
    }

    /// Starts any of our daemons; `more` gets the address for DNS and returns further arguments.
    ///
    /// # Panics
    /// When it does not answer in time, with the end of its log.
    pub fn start(program: &str, options: &DaemonOptions, more: &dyn Fn(SocketAddr) -> Vec<String>) -> Self {
        for _ in 0..STARTS_MAX {
            let mut daemon = Self::prepare(program, options, more);
            daemon.process.start();
            if daemon.wait_healthy() {
                return daemon;
            }
            let log = logs::tail(daemon.log());
            assert!(log.contains("in use"), "{program} ended at its start:\n{log}");
            // Not this daemon's fault; its log shall not fail the test.
            daemon.allowed.push(Allowed { part: String::new(), reason: "a port was taken meanwhile".into() });
        }
        panic!("{program} did not start, {STARTS_MAX} times");
    }

    /// A dictator with its folder but not running, for a host of its own; [`Self::start_again`] starts it.
    ///
    /// # Panics
    /// When there is no temporary folder.
    pub fn prepare_dictator(http: SocketAddr, options: &DaemonOptions) -> Self {
        Self::prepare_at("dictator", http, &options.clone().switch("--insecure-no-auth"), &|_| Vec::new())
    }

    fn prepare(program: &str, options: &DaemonOptions, more: &dyn Fn(SocketAddr) -> Vec<String>) -> Self {
        Self::prepare_at(program, free_address(), options, more)
    }

    fn prepare_at(
        program: &str,
        http: SocketAddr,
        options: &DaemonOptions,
        more: &dyn Fn(SocketAddr) -> Vec<String>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dns = free_address();
        let state = folder.path().join("state");
        let mut arguments = vec!["--listen".into(), http.to_string()];
        arguments.extend(["--state-dir".into(), state.display().to_string()]);
        arguments.extend(more(dns));
        arguments.extend(options.arguments.iter().cloned());
        std::fs::create_dir(&state).expect("a state folder");
        let process = Process::new(Recipe {
            name: format!("{program} at {http}"),
            program: binary(program),
            arguments,
            environment: options.environment.clone(),
            folder: folder.path().into(),
            log: folder.path().join(format!("{program}.log")),
        });
        let client = options.trust.map_or_else(|| Http::new(http), |trust| Http::private(http, trust));
        Self {
            process,
            http: client,
            private: options.trust.is_some(),
            dns,
            allowed: options.allowed.clone(),
            folder,
        }
    }

    /// A client of its HTTP face.
    pub fn http(&self) -> Http {
        self.http
    }

    /// `http://127.0.0.1:port/path`, or `https`.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.private { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.http.address())
    }

    /// Where dnsd answers DNS; nothing listens there for the other daemons.
    pub fn dns_address(&self) -> SocketAddr {
        self.dns
    }

    /// `PUT /master` with this document.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put_master(&self, document: &Value) -> HttpAnswer {
        self.http.put("/master", document)
    }

    /// `PUT /dns` with this document.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn put_dns(&self, document: &Value) -> HttpAnswer {
        self.http.put("/dns", document)
    }

    /// `GET /status` as JSON.
    ///
    /// # Panics
    /// When no answer comes or it is not JSON.
    pub fn status(&self) -> Value {
        self.http.get("/status").json()
    }

    /// Asks for a name relative to [`DOMAIN`] over UDP.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn ask(&self, name: &str, kind: RecordType) -> Message {
        dns::query(self.dns, &format!("{name}.{DOMAIN}"), kind)
            .unwrap_or_else(|error| panic!("{name}.{DOMAIN} at {}: {error}", self.dns))
    }

    /// Where the published master is, if one is published.
    pub fn published_master(&self) -> Option<SocketAddr> {
        dns::find_master(self.dns, DOMAIN).ok()
    }

    /// The process: its pid, to freeze and thaw it, or to change its arguments before a restart.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The folder of its state.
    pub fn state_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// The file of its log.
    pub fn log(&self) -> &Path {
        &self.process.recipe().log
    }

    /// Announces WARN or ERROR lines that contain `part`, and says why a human is rightly told.
    pub fn allow_log(&mut self, part: &str, reason: &str) {
        self.allowed.push(Allowed { part: part.to_owned(), reason: reason.to_owned() });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and how it ended.
    ///
    /// # Panics
    /// When it does not end in ten seconds.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.terminate(STOP_DEADLINE)
    }

    /// Starts it again with the same ports and state, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again(&mut self) {
        self.process.start();
        assert!(self.wait_healthy(), "did not start again:\n{}", logs::tail(self.log()));
    }

    /// False if the process ended.
    fn wait_healthy(&mut self) -> bool {
        let (http, process) = (self.http, &mut self.process);
        wait_until("the daemon to answer GET /healthz", READY_DEADLINE, || {
            if !process.is_running() {
                return Ok(false);
            }
            match http.try_request("GET", "/healthz", &[], b"") {
                Ok(answer) if answer.status == 200 => Ok(true),
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill();
        let name = self.process.recipe().name.clone();
        if std::thread::panicking() {
            eprintln!("--- end of the log of {name}\n{}", logs::tail(self.log()));
            return;
        }
        let unexpected = logs::unexpected_lines(self.log(), &self.allowed);
        assert!(
            unexpected.is_empty(),
            "{name} wrote lines that call for a human, which this test did not announce:\n{}",
            unexpected.join("\n")
        );
    }
}
