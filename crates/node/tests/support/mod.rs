//! What the tests of this crate share.

#![allow(dead_code, reason = "every test file uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use node::{Credentials, Mandate, Nodes, Secret, Settings};
use tokio::sync::watch;
use topology::command::{Answer, Assigned, Command, Failure, Order, Reply};
use topology::observation::{NodeState, SessionId, Unknown, Vitals};
use topology::{Address, NodeName};

/// Longer than any healthy command takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

/// The pool under test with its right to act.
pub(crate) struct Bench {
    pub(crate) nodes: Nodes,
    pub(crate) mandate: watch::Sender<Option<Mandate>>,
}

pub(crate) fn settings() -> Settings {
    #[allow(clippy::disallowed_methods, reason = "a test is its own source of time")]
    let clock = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        i64::try_from(since.as_micros()).expect("before the year 292277")
    };
    Settings::new(Arc::new(clock))
}

pub(crate) fn with_user(username: &str, password: &str) -> Settings {
    let credentials =
        Credentials { username: Some(username.to_owned()), password: Secret::new(password.to_owned()) };
    Settings { credentials: Some(credentials), ..settings() }
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Self {
        let (mandate, held) = watch::channel(Some(Mandate::alone(7)));
        Self { nodes: Nodes::new(settings, held), mandate }
    }

    pub(crate) async fn send(
        &self,
        endpoint: SocketAddr,
        session: Option<SessionId>,
        command: Command,
    ) -> Answer {
        self.send_within(endpoint, session, command, DEADLINE).await
    }

    pub(crate) async fn send_within(
        &self,
        endpoint: SocketAddr,
        session: Option<SessionId>,
        command: Command,
        deadline: Duration,
    ) -> Answer {
        let node = NodeName { address: Address::Ip(endpoint.ip()), port: None };
        self.nodes.execute(Order { node, endpoint, session, command, deadline }).await
    }

    pub(crate) async fn observe(&self, endpoint: SocketAddr) -> NodeState {
        match self.send(endpoint, None, Command::Observe { feel_pause: true }).await {
            Ok(Reply::State(state)) => *state,
            other => panic!("no state of {endpoint}: {other:?}"),
        }
    }

    /// Why observing fails.
    pub(crate) async fn unknown(&self, endpoint: SocketAddr, deadline: Duration) -> Unknown {
        match self.send_within(endpoint, None, Command::Observe { feel_pause: true }, deadline).await {
            Err(failure) => failure.reason().clone(),
            Ok(reply) => panic!("{endpoint} was observed: {reply:?}"),
        }
    }
}

pub(crate) fn vitals(answer: Answer) -> Vitals {
    match answer {
        Ok(Reply::Vitals(vitals)) => *vitals,
        other => panic!("no vitals: {other:?}"),
    }
}

pub(crate) fn assigned(answer: Answer) -> Assigned {
    match answer {
        Ok(Reply::Assigned(assigned)) => *assigned,
        other => panic!("not assigned: {other:?}"),
    }
}

pub(crate) fn not_executed(answer: Answer) -> Unknown {
    match answer {
        Err(Failure::NotExecuted(reason)) => reason,
        other => panic!("expected `not executed`, got {other:?}"),
    }
}

pub(crate) fn no_reply(answer: Answer) -> Unknown {
    match answer {
        Err(Failure::NoReply(reason)) => reason,
        other => panic!("expected `no reply`, got {other:?}"),
    }
}
