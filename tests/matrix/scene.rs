//! The stage of one case: three nodes under load, and a dictator that stops where it is told to.

use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::Duration;

use harness::binaries::{binary, workspace};
use harness::redis::Born;
use harness::whole::document;
use harness::{Daemon, DaemonOptions, Etcd, HttpAnswer, Load, LoadOptions, Redis, RedisOptions, wait_until};
use serde_json::Value;

/// The node that takes writes when the hand-over begins.
pub(crate) const OLD: usize = 0;
/// The node that shall take them.
pub(crate) const TARGET: usize = 1;
/// The third.
pub(crate) const THIRD: usize = 2;

/// How long a dictator may take to reach its stop, or the end of the change.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// Acknowledged writes that show that the load is under way.
const WRITES_MIN: u64 = 40;
/// The shortest lease there is, for a lock that has to be taken over.
const LEASE: &str = "2s";

/// Nodes, load and dictator.
pub(crate) struct Scene {
    pub(crate) dictator: Daemon,
    pub(crate) etcd: Option<Etcd>,
    pub(crate) nodes: Vec<Redis>,
    pub(crate) load: Option<Load>,
    arguments: Vec<String>,
}

/// Builds the program that can stop, once.
pub(crate) fn build() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        // The usual programs first, so that cargo is not asked for both at once.
        binary("dictator");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "-p",
                "dictator",
                "--features",
                "stop-at",
                "--bin",
                "dictator-stopping",
            ])
            .current_dir(workspace())
            .status()
            .expect("cargo can be started");
        assert!(status.success(), "dictator-stopping cannot be built: {status}");
    });
}

impl Scene {
    /// Three nodes of which the first takes writes, known to a dictator that is not running, under load.
    pub(crate) fn set(born: Born, with_etcd: bool) -> Self {
        build();
        let redis = RedisOptions { born, ..RedisOptions::default() };
        let nodes = Redis::start_many(3, &redis);
        let etcd = with_etcd.then(Etcd::start);
        let mut options = DaemonOptions::new()
            .flag("--max-write-pause", "500ms")
            .flag("--apply-timeout", "3s")
            .flag("--enforce-interval", "0");
        if let Some(etcd) = &etcd {
            options = options.flag("--etcd", &etcd.url()).flag("--lease", LEASE);
        }
        let why = "whatever is in a topology's way is told once, and this test puts things in its way";
        for part in ["the topology cannot be kept", "etcd", "the lock", "the record"] {
            options = options.allow_log(part, why);
        }
        options = options.allow_log("DICTATOR_STOP_", "where to stop is no setting of the daemon");
        let mut dictator = Daemon::start("dictator-stopping", &options, &|_| Vec::new());
        let arguments = dictator.process().recipe().arguments.clone();
        let mut scene = Self { dictator, etcd, nodes, load: None, arguments };
        let answer = scene.put_until_leading(&scene.document(OLD));
        assert_eq!(answer.json()["master"]["port"], scene.nodes[OLD].address().port(), "{}", answer.text());
        scene.dictator.stop();
        scene.nodes.iter().for_each(Redis::wait_on_disk);
        let addresses = scene.nodes.iter().map(Redis::address).collect::<Vec<_>>();
        let options =
            LoadOptions { writers: 4, interval: Duration::from_millis(2), ..LoadOptions::new(&addresses) };
        let load = Load::start(options);
        load.wait_acknowledged(WRITES_MIN);
        scene.load = Some(load);
        scene
    }

    /// The document with this node as master.
    pub(crate) fn document(&self, master: usize) -> Value {
        document(&self.nodes, master)
    }

    /// Asks for the hand-over and lets the dictator stop at its action with this number; the action's name,
    /// or nothing if the change came to its end before.
    pub(crate) fn hand_over_until(&mut self, at: u64) -> Option<String> {
        let file = self.stop_file();
        self.dictator.process().recipe_mut().environment = vec![
            ("DICTATOR_STOP_AT".into(), at.to_string()),
            // A hand-over begins by asking how close the target is; the heartbeat of the first pass of
            // enforcement, which may come before or after, is not counted.
            ("DICTATOR_STOP_FROM".into(), "poll".into()),
            ("DICTATOR_STOP_FILE".into(), file.display().to_string()),
        ];
        self.dictator.start_again();
        let document = self.document(TARGET);
        let mut put = Some(self.put_beside(&document));
        wait_until("the dictator to stop at its action or to end the change", STOP_DEADLINE, || {
            if let Ok(action) = std::fs::read_to_string(&file) {
                return Ok(Some(action.trim().to_owned()));
            }
            let Some(ended) = put.take_if(|put| put.is_finished()) else { return Err("neither") };
            let answer = ended.join().expect("the request does not panic").expect("an answer");
            match answer.status {
                200 => Ok(None),
                503 => {
                    put = Some(self.put_beside(&document));
                    Err("it does not hold the lock yet")
                }
                status => panic!("{status} {}", answer.text()),
            }
        })
    }

    /// Whether the record says that a hand-over was begun and not ended; only without etcd.
    pub(crate) fn intent_is_open(&self) -> bool {
        let text = std::fs::read_to_string(self.dictator.state_folder().join("record.json"));
        let record: Value = text.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        !record["intent"].is_null()
    }

    /// Starts the dictator as it ships, with enforcement, on the state that the killed one left.
    pub(crate) fn start_normal_dictator(&mut self) {
        let mut arguments = self.arguments.clone();
        let interval = arguments.iter().position(|argument| argument == "--enforce-interval");
        arguments[interval.expect("the flag is set") + 1] = "300ms".into();
        let recipe = self.dictator.process().recipe_mut();
        recipe.program = binary("dictator");
        recipe.environment.clear();
        recipe.arguments = arguments;
        self.dictator.start_again();
    }

    /// `PUT /master?wait=links` until this dictator has the say.
    fn put_until_leading(&self, document: &Value) -> HttpAnswer {
        wait_until("the dictator to hold the lock", STOP_DEADLINE, || {
            let answer = self.dictator.http().put("/master?wait=links", document);
            // A link that comes late is no fault on a busy machine.
            if [503, 504].contains(&answer.status) { Err(answer.text()) } else { Ok(answer.expect(200)) }
        })
    }

    fn put_beside(&self, document: &Value) -> JoinHandle<io::Result<HttpAnswer>> {
        let (http, body) = (self.dictator.http(), document.to_string());
        std::thread::spawn(move || http.try_request("PUT", "/master?wait=links", &[], body.as_bytes()))
    }

    fn stop_file(&self) -> PathBuf {
        self.dictator.log().with_file_name("stopped-at")
    }
}
