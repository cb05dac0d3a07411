//! Clients: one write at a time to the node they believe to be the master.
//!
//! A client learns the published master when it starts and after every error, if it looks; some
//! never look before they must, and keep writing to a node that was replaced long ago. A client that
//! gets no answer closes its connection and does not know what became of the write: such a write
//! may be there or not. A write counts as acknowledged when it was executed, whether or not the
//! reply got through: that is the stronger demand.

use crate::data::WRITES_MAX;
use crate::event::Event;
use crate::redis::{NodeIndex, Operation};
use crate::session::{ConnectionIndex, Request, Response};
use crate::world::{MILLISECOND, SECOND, Time, World};

/// How long a client waits for an answer.
const CLIENT_DEADLINE: Time = 3 * SECOND;
/// Longest time between two writes around a change.
const BURST_THINK: Time = 3 * MILLISECOND;
/// Once in so many writes a client sends two in a MULTI.
const PAIR_EVERY: u64 = 6;
/// Once in so many looks a wandering client asks the wrong node.
const WANDER_EVERY: u64 = 4;

/// One client.
#[derive(Clone, Debug)]
pub struct Client {
    connection: Option<ConnectionIndex>,
    believes: NodeIndex,
    turn: u32,
    waiting: bool,
    /// Looks the master up before every write, not only after errors.
    pub attentive: bool,
    /// Sometimes writes to nodes nobody published.
    pub wanders: bool,
    /// Longest time between two writes.
    pub think_max: Time,
}

impl Client {
    /// A client that believes in a node.
    pub fn new(believes: NodeIndex, think_max: Time) -> Self {
        Self {
            connection: None,
            believes,
            turn: 0,
            waiting: false,
            attentive: false,
            wanders: false,
            think_max,
        }
    }
}

impl World {
    /// Adds a client that starts soon.
    pub fn add_client(&mut self, client: Client) {
        let think = self.chance.below(client.think_max);
        self.clients.push(client);
        self.after(think, Event::Client { client: self.clients.len() - 1, turn: 0 });
    }

    pub(crate) fn client_timer(&mut self, client: usize, turn: u32) {
        if self.clients[client].turn != turn {
            return;
        }
        if self.clients[client].waiting {
            self.client_fails(client);
            return;
        }
        if self.clients_rest || self.writes_given + 2 > WRITES_MAX {
            return;
        }
        if self.clients[client].attentive {
            self.look_up(client);
        }
        let operation = if self.chance.one_in(PAIR_EVERY) {
            Operation::Pair(self.writes_given, self.writes_given + 1)
        } else {
            Operation::Write(self.writes_given)
        };
        self.writes_given += if matches!(operation, Operation::Pair(..)) { 2 } else { 1 };
        let node = self.clients[client].believes;
        let connection = match self.clients[client].connection {
            Some(open) => open,
            None => {
                let party = self.client_party(client);
                self.connect(party, node, None)
            }
        };
        let state = &mut self.clients[client];
        state.connection = Some(connection);
        state.waiting = true;
        state.turn += 1;
        let turn = state.turn;
        self.request(connection, Request::Write { operation, turn });
        self.after(CLIENT_DEADLINE, Event::Client { client, turn });
    }

    pub(crate) fn client_hears(&mut self, party: usize, connection: ConnectionIndex, response: Response) {
        let client = party - self.client_party(0);
        if self.clients[client].connection != Some(connection) {
            return;
        }
        match response {
            Response::Written { turn } if turn == self.clients[client].turn => {
                self.clients[client].waiting = false;
                self.client_goes_on(client);
            }
            Response::Rejected { turn } if turn == self.clients[client].turn => self.client_fails(client),
            Response::Reset => self.client_fails(client),
            _ => {}
        }
    }

    fn client_fails(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].connection.take() {
            self.close(connection);
        }
        self.clients[client].waiting = false;
        self.look_up(client);
        self.client_goes_on(client);
    }

    fn client_goes_on(&mut self, client: usize) {
        self.clients[client].turn += 1;
        let (turn, think_max) = (self.clients[client].turn, self.clients[client].think_max);
        let think_max = if self.now < self.burst_until { BURST_THINK } else { think_max };
        let think = self.chance.between(MILLISECOND / 10, think_max);
        self.after(think, Event::Client { client, turn });
    }

    fn look_up(&mut self, client: usize) {
        let mut found = self.ledger.published_node().unwrap_or(self.clients[client].believes);
        if self.clients[client].wanders && self.chance.one_in(WANDER_EVERY) {
            found = self.chance.index(self.nodes.len());
        }
        if found != self.clients[client].believes {
            self.clients[client].believes = found;
            if let Some(connection) = self.clients[client].connection.take() {
                self.close(connection);
            }
        }
    }
}
