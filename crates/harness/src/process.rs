//! One child process: started, frozen, thawed, killed, always by its own pid, and never left behind.
//!
//! Dropping it kills and reaps it, also when a test unwinds. That does not help when the test
//! process itself is killed (a test runner's timeout), so children are started through `setpriv
//! --pdeathsig KILL` where that is installed: the kernel then kills them with their parent. The
//! direct way to that setting is a `pre_exec` closure, which is `unsafe` and therefore not for this
//! house. The signal is tied to the *thread* that started the child, so one thread that lives as
//! long as the process starts them all. Children are leaders of their own process group, which
//! keeps Ctrl-C for the one who has to stop them in order.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Pause between two looks at whether a process has ended.
const EXIT_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long a process may take to freeze.
const FREEZE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a killed process may take to be reaped before that is worth a panic.
const REAP_DEADLINE: Duration = Duration::from_secs(10);

/// How to start a process, kept so that it can be started again.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// What messages call it: `redis-server at 127.0.0.1:12345`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables added to the environment; the rest is inherited.
    pub environment: Vec<(String, String)>,
    /// The working directory.
    pub folder: PathBuf,
    /// Where standard output and standard error are appended.
    pub log: PathBuf,
}

/// A process made from a [`Recipe`]; running or not.
#[derive(Debug)]
pub struct Process {
    recipe: Recipe,
    child: Option<Child>,
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

/// The thread that starts every child (see the head of this file).
static SPAWNER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    std::thread::spawn(move || {
        while let Ok((mut command, reply)) = inbox.recv() {
            // A requester that unwound meanwhile drops the child, which ends with this process.
            drop(reply.send(command.spawn()));
        }
    });
    Mutex::new(orders)
});

static SETPRIV: LazyLock<Option<&'static Path>> = LazyLock::new(|| {
    ["/usr/bin/setpriv", "/bin/setpriv"].map(Path::new).into_iter().find(|path| path.exists())
});

impl Process {
    /// A process that is not running yet.
    pub fn new(recipe: Recipe) -> Self {
        Self { recipe, child: None }
    }

    /// Starts it; does nothing if it runs.
    ///
    /// # Panics
    /// When the program cannot be started at all, with what to install.
    pub fn start(&mut self) {
        if self.is_running() {
            return;
        }
        let (reply, outcome) = mpsc::channel();
        let order = (self.command(), reply);
        SPAWNER.lock().expect("the spawner's lock").send(order).expect("the spawner lives");
        match outcome.recv().expect("the spawner answers") {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!(
                "cannot start {} ({}): {error}; is it installed?",
                self.recipe.name,
                self.recipe.program.display()
            ),
        }
    }

    fn command(&self) -> Command {
        let recipe = &self.recipe;
        let log = open_log(&recipe.log);
        let mut command = match *SETPRIV {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&recipe.program);
                command
            }
            None => Command::new(&recipe.program),
        };
        command
            .args(&recipe.arguments)
            .envs(recipe.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&recipe.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .process_group(0);
        command
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it was never started.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} was never started", self.recipe.name)).id()
    }

    /// Whether it was started and has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL, then reaps it. Does nothing if it is not running.
    pub fn kill(&mut self) {
        if self.is_running() {
            self.signal(Signal::KILL);
            self.wait(REAP_DEADLINE);
        }
    }

    /// SIGTERM, then waits for its end and returns how it ended.
    ///
    /// # Panics
    /// When it has not ended by `deadline`.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(deadline)
    }

    /// SIGHUP: a daemon looks at its files again.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal_hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGTERM once a second until it ends: redis refuses to end while it writes its first AOF, and
    /// forgets that it was asked (`finishShutdown` in redis `src/server.c`).
    ///
    /// # Panics
    /// When it has not ended by `deadline`.
    pub fn terminate_insistently(&mut self, deadline: Duration) -> ExitStatus {
        const ASK_AGAIN: Duration = Duration::from_secs(1);
        let start = Instant::now();
        while start.elapsed() + ASK_AGAIN < deadline {
            self.signal(Signal::TERM);
            let asked = Instant::now();
            while asked.elapsed() < ASK_AGAIN {
                if !self.is_running() {
                    return self.wait(deadline);
                }
                std::thread::sleep(EXIT_POLL_INTERVAL);
            }
        }
        self.terminate(ASK_AGAIN)
    }

    /// SIGSTOP: the process freezes, its sockets stay open and go on taking bytes. Returns when every thread
    /// stands still: the signal alone lets threads that are in a system call finish what they do.
    ///
    /// # Panics
    /// When they do not.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let start = Instant::now();
        while !self.threads_stand_still() {
            assert!(start.elapsed() < FREEZE_DEADLINE, "{} does not freeze", self.recipe.name);
            std::thread::sleep(EXIT_POLL_INTERVAL);
        }
    }

    /// Whether every thread is in the state T of proc(5).
    fn threads_stand_still(&self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.pid())) else { return true };
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state follows the command's name, which stands in parentheses and may hold any character.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// SIGCONT: the process goes on and reads what its sockets hold.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended by `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let name = &self.recipe.name;
        let child = self.child.as_mut().unwrap_or_else(|| panic!("{name} was never started"));
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
                return status;
            }
            assert!(start.elapsed() < deadline, "{name} (pid {}) did not end in {deadline:?}", child.id());
            std::thread::sleep(EXIT_POLL_INTERVAL);
        }
    }

    /// How it is started.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Changes how it is started next time.
    pub fn recipe_mut(&mut self) -> &mut Recipe {
        &mut self.recipe
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        if let Err(error) = kill_process(pid, signal) {
            panic!("cannot send {signal:?} to {} (pid {}): {error}", self.recipe.name, self.pid());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when the process has already been reaped.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn open_log(path: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot open the log {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        Process::new(Recipe {
            name: "sleep".into(),
            program: "sleep".into(),
            arguments: vec!["60".into()],
            environment: Vec::new(),
            folder: folder.into(),
            log: folder.join("log"),
        })
    }

    #[test]
    fn dropping_kills_and_reaps() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = sleeper(folder.path());
        process.start();
        assert!(process.is_running());
        let proc_entry = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc_entry.exists());
        drop(process);
        assert!(!proc_entry.exists(), "neither running nor a zombie");
    }

    #[test]
    fn a_killed_process_can_be_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = sleeper(folder.path());
        process.start();
        let first = process.pid();
        process.freeze();
        process.kill();
        assert!(!process.is_running());
        process.start();
        assert_ne!(first, process.pid());
    }
}
