//! Connections to redis: queues in both directions, and what a node does with a request.
//!
//! A connection is two queues of messages with the earliest time of delivery. A cut or a stopped
//! process leaves them queued, and they run later, long after whoever sent them gave up: closing a
//! connection only puts a last message behind the others, as TCP does. `CLIENT KILL` makes the node
//! forget the connection, so that what is queued never runs.

use std::collections::VecDeque;

use topology::command::{Answer, Assigned, Assignment, Command, Failure, Reading, Reply};
use topology::observation::{DictatorConnection, NodeSettings, NodeState, SessionId, Unknown};

use crate::event::Event;
use crate::redis::{NodeIndex, Operation, Part, Persistence, Power};
use crate::world::{MILLISECOND, Time, World};

/// A connection by its place in the world.
pub(crate) type ConnectionIndex = usize;

/// Longest time between the client list and the vitals of one observation.
const OBSERVE_SPLIT_MAX: Time = 2 * MILLISECOND;

/// What is sent to a node.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// Connect and set the name.
    Hello,
    /// A client's write.
    Write { operation: Operation, turn: u32 },
    /// A dictator's order.
    Order { ticket: u64, command: Command },
    /// The second half of an observation: the client list is read.
    ObserveRest { ticket: u64, dictators: Vec<DictatorConnection> },
    /// The owner's end is closed.
    Close,
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) enum Response {
    /// Connected, and the name is set.
    Welcome,
    /// Connection refused or reset.
    Reset,
    /// The write was executed.
    Written { turn: u32 },
    /// The write was refused.
    Rejected { turn: u32 },
    /// The answer to an order.
    Answer { ticket: u64, answer: Box<Answer> },
}

/// A connection of a client or a dictator to a node.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The party that opened it.
    pub(crate) owner: usize,
    pub(crate) node: NodeIndex,
    /// The life of the node that accepted it.
    pub(crate) life: u32,
    /// `CLIENT ID`.
    pub(crate) id: u64,
    /// The dictator that opened it, the life of that process, and the epoch in its name.
    pub(crate) dictator: Option<(usize, u32, u64)>,
    pub(crate) open_at_node: bool,
    pub(crate) open_at_owner: bool,
    pub(crate) to_node: VecDeque<(Time, Request)>,
    pub(crate) to_owner: VecDeque<(Time, Response)>,
    last_to_node: Time,
    last_to_owner: Time,
}

impl World {
    /// Opens a connection; what is sent on it before the welcome follows in order.
    pub(crate) fn connect(
        &mut self,
        owner: usize,
        node: NodeIndex,
        dictator: Option<(usize, u32, u64)>,
    ) -> ConnectionIndex {
        self.connections.push(Connection {
            owner,
            node,
            life: 0,
            id: 0,
            dictator,
            open_at_node: false,
            open_at_owner: true,
            to_node: VecDeque::new(),
            to_owner: VecDeque::new(),
            last_to_node: 0,
            last_to_owner: 0,
        });
        let connection = self.connections.len() - 1;
        self.request(connection, Request::Hello);
        connection
    }

    /// Sends to the node.
    pub(crate) fn request(&mut self, connection: ConnectionIndex, request: Request) {
        let at = (self.now + self.delay()).max(self.connections[connection].last_to_node);
        let state = &mut self.connections[connection];
        state.last_to_node = at;
        state.to_node.push_back((at, request));
        if state.to_node.len() == 1 {
            self.at(at, Event::ToNode(connection));
        }
    }

    fn respond(&mut self, connection: ConnectionIndex, response: Response) {
        let at = (self.now + self.delay()).max(self.connections[connection].last_to_owner);
        let state = &mut self.connections[connection];
        if !state.open_at_owner {
            return;
        }
        state.last_to_owner = at;
        state.to_owner.push_back((at, response));
        if state.to_owner.len() == 1 {
            self.at(at, Event::ToOwner(connection));
        }
    }

    /// The owner gives a connection up; what it sent before may still run.
    pub(crate) fn close(&mut self, connection: ConnectionIndex) {
        if self.connections[connection].open_at_owner {
            self.connections[connection].open_at_owner = false;
            self.connections[connection].to_owner.clear();
            self.request(connection, Request::Close);
        }
    }

    /// The network resets a connection: what is under way in either direction is lost.
    pub(crate) fn reset(&mut self, connection: ConnectionIndex) {
        let state = &mut self.connections[connection];
        state.open_at_node = false;
        state.to_node.clear();
        state.to_owner.clear();
        self.respond(connection, Response::Reset);
    }

    /// Delivers to the node what is due.
    pub(crate) fn pump_to_node(&mut self, connection: ConnectionIndex) {
        loop {
            let Connection { owner, node, .. } = self.connections[connection];
            if self.nodes[node].power == Power::Stopped || self.is_cut(owner, node) {
                return;
            }
            let Some((at, _)) = self.connections[connection].to_node.front() else { return };
            if *at > self.now {
                self.at(*at, Event::ToNode(connection));
                return;
            }
            let Some((_, request)) = self.connections[connection].to_node.pop_front() else { return };
            self.accept(connection, request);
        }
    }

    /// Delivers to the owner what is due.
    pub(crate) fn pump_to_owner(&mut self, connection: ConnectionIndex) {
        loop {
            let Connection { owner, node, dictator, open_at_owner, .. } = self.connections[connection];
            if !open_at_owner || self.is_cut(node, owner) {
                return;
            }
            if dictator.is_some_and(|(index, ..)| self.dictators[index].is_stopped()) {
                return;
            }
            let Some((at, _)) = self.connections[connection].to_owner.front() else { return };
            if *at > self.now {
                self.at(*at, Event::ToOwner(connection));
                return;
            }
            let Some((_, response)) = self.connections[connection].to_owner.pop_front() else { return };
            match dictator {
                Some((index, life, _)) => self.dictator_hears(index, life, connection, response),
                None => self.client_hears(owner, connection, response),
            }
        }
    }

    fn accept(&mut self, connection: ConnectionIndex, request: Request) {
        let node = self.connections[connection].node;
        let state = &mut self.connections[connection];
        if self.nodes[node].power == Power::Down {
            state.open_at_node = false;
            if !self.nodes[node].dark {
                self.respond(connection, Response::Reset);
            }
            return;
        }
        if matches!(request, Request::Hello) {
            self.nodes[node].next_client += 1;
            state.id = self.nodes[node].next_client;
            state.life = self.nodes[node].life;
            state.open_at_node = true;
            self.respond(connection, Response::Welcome);
            return;
        }
        if !state.open_at_node || state.life != self.nodes[node].life {
            self.respond(connection, Response::Reset);
            return;
        }
        match request {
            Request::Hello => {}
            Request::Close => state.open_at_node = false,
            Request::Write { operation, turn } => self.client_write(connection, operation, turn),
            Request::Order { ticket, command } => {
                self.moment();
                // The moment may have ended the node or the connection; then nothing runs.
                if self.connections[connection].open_at_node && self.nodes[node].power == Power::Running {
                    self.obey(connection, ticket, &command);
                } else if self.nodes[node].power == Power::Stopped {
                    let order = (self.now, Request::Order { ticket, command });
                    self.connections[connection].to_node.push_front(order);
                }
            }
            Request::ObserveRest { ticket, dictators } => self.observed(connection, ticket, dictators),
        }
    }

    fn client_write(&mut self, connection: ConnectionIndex, operation: Operation, turn: u32) {
        let node = self.connections[connection].node;
        let state = &self.nodes[node];
        if state.takes_writes() && self.now < state.paused_until {
            self.nodes[node].postponed.push((connection, operation, turn));
            return;
        }
        self.run_write(connection, operation, turn);
    }

    fn run_write(&mut self, connection: ConnectionIndex, operation: Operation, turn: u32) {
        let node = self.connections[connection].node;
        match self.write(node, operation) {
            Ok(()) => {
                self.ledger_executed(node, operation);
                self.respond(connection, Response::Written { turn });
            }
            Err(_) => {
                self.ledger_rejected(operation);
                self.respond(connection, Response::Rejected { turn });
            }
        }
    }

    /// Runs the writes that a pause held back, as far as their clients are still there.
    pub(crate) fn run_postponed(&mut self, node: NodeIndex) {
        for (connection, operation, turn) in std::mem::take(&mut self.nodes[node].postponed) {
            if self.connections[connection].open_at_node {
                self.run_write(connection, operation, turn);
            }
        }
    }

    /// All connections of a node that crashed are gone.
    pub(crate) fn connections_of_crashed(&mut self, node: NodeIndex, silent: bool) {
        self.nodes[node].dark = silent;
        self.nodes[node].postponed.clear();
        for connection in 0..self.connections.len() {
            if self.connections[connection].node == node && self.connections[connection].open_at_node {
                self.connections[connection].open_at_node = false;
                self.connections[connection].to_node.clear();
                if !silent {
                    self.respond(connection, Response::Reset);
                }
            }
        }
    }

    fn obey(&mut self, connection: ConnectionIndex, ticket: u64, command: &Command) {
        let node = self.connections[connection].node;
        let answer = match command {
            Command::Observe { .. } => {
                let dictators = self.dictators_at(connection);
                if self.chance.one_in(4) {
                    let later = self.now + self.chance.below(OBSERVE_SPLIT_MAX);
                    let rest = Request::ObserveRest { ticket, dictators };
                    self.connections[connection].to_node.push_front((later, rest));
                    return;
                }
                return self.observed(connection, ticket, dictators);
            }
            Command::Poll => Ok(Reply::Vitals(Box::new(self.vitals(node, Reading::Brief)))),
            Command::PauseWrites { budget } => {
                self.pause(node, budget.as_micros() as u64);
                Ok(Reply::Vitals(Box::new(self.vitals(node, Reading::Brief))))
            }
            Command::Unpause => {
                self.unpause(node);
                Ok(Reply::Done)
            }
            Command::Assign { to, unpause, reading } => self.transact(node, *to, *unpause, *reading),
            Command::KillConnections { ids } => {
                self.kill_connections(node, ids);
                Ok(Reply::Done)
            }
        };
        self.note(|_| format!("node {node}: executes {} (ticket {ticket})", describe(command)));
        self.respond(connection, Response::Answer { ticket, answer: Box::new(answer) });
    }

    fn observed(&mut self, connection: ConnectionIndex, ticket: u64, dictators: Vec<DictatorConnection>) {
        let node = self.connections[connection].node;
        self.nodes[node].read_at = self.now;
        let state = NodeState {
            session: SessionId(self.connections[connection].id),
            vitals: self.vitals(node, Reading::Full),
            settings: NodeSettings {
                read_only: Some(true),
                ignore_memory_max: Some(true),
                min_replicas: Some(0),
                has_master_auth: Some(false),
                requires_password: Some(false),
                saves: Some(self.nodes[node].persistence == Persistence::Snapshot),
            },
            clock_skew_ms: self.nodes[node].skew_ms,
            paused: None,
            sentinels: self.sentinels_at(node),
            dictators,
        };
        let answer = Box::new(Ok(Reply::State(Box::new(state))));
        self.respond(connection, Response::Answer { ticket, answer });
    }

    /// `MULTI · INFO · REPLICAOF · INFO [· CLIENT UNPAUSE] · EXEC`; redis refuses to queue REPLICAOF while
    /// loading, and then nothing of the transaction runs.
    fn transact(&mut self, node: NodeIndex, to: Assignment, unpause: bool, reading: Reading) -> Answer {
        let before = self.vitals(node, reading);
        let part = match to {
            Assignment::Parked => Part::Slave(None),
            Assignment::Master => Part::Master,
            Assignment::SlaveOf(endpoint) => {
                Part::Slave(self.nodes.iter().position(|other| other.endpoint == endpoint))
            }
        };
        self.ledger_ordered(node, part);
        if let Err(error) = self.assign(node, part) {
            return Err(Failure::NotExecuted(Unknown::Refuses(error.to_owned())));
        }
        let after = self.vitals(node, reading);
        if unpause {
            self.unpause(node);
        }
        Ok(Reply::Assigned(Box::new(Assigned { before, accepted: Ok(()), after })))
    }

    fn kill_connections(&mut self, node: NodeIndex, ids: &[SessionId]) {
        let life = self.nodes[node].life;
        for at in 0..self.connections.len() {
            let other = &self.connections[at];
            if other.node == node
                && other.open_at_node
                && other.life == life
                && ids.contains(&SessionId(other.id))
            {
                self.note(|_| format!("node {node}: kills connection {}", at));
                self.connections[at].open_at_node = false;
                self.connections[at].to_node.clear();
                self.respond(at, Response::Reset);
            }
        }
    }
}

/// A command in a few words, for traces.
pub(crate) fn describe(command: &Command) -> String {
    match command {
        Command::Observe { .. } => "observe".to_owned(),
        Command::Poll => "poll".to_owned(),
        Command::PauseWrites { budget } => format!("pause {} ms", budget.as_millis()),
        Command::Unpause => "unpause".to_owned(),
        Command::Assign { to, unpause, .. } => {
            format!("assign {to:?}{}", if *unpause { " and unpause" } else { "" })
        }
        Command::KillConnections { ids } => format!("kill {ids:?}"),
    }
}
