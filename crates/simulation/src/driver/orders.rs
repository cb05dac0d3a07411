//! Orders to nodes: one connection to each, deadlines, and what is known when no reply comes.

use std::time::Duration;

use topology::command::{Assignment, Command, Failure, Order};
use topology::conduct::Event as Happened;
use topology::mutant::{self, Mutant};
use topology::observation::Unknown;

use super::{Line, Ticket};
use crate::event::Timer;
use crate::redis::NodeIndex;
use crate::session::{ConnectionIndex, Request, Response, describe};
use crate::world::{Time, World};

impl World {
    pub(super) fn answer_now(&mut self, d: usize, ticket: u64, reason: Unknown) {
        let state = &mut self.dictators[d];
        state.serial += 1;
        let serial = state.serial;
        state.instant.push((serial, ticket, Err(Failure::NotExecuted(reason))));
        self.dictator_after(d, 1, Timer::Instant(serial));
    }

    pub(super) fn send_order(&mut self, d: usize, ticket: u64, order: Order) {
        let Some(node) = self.nodes.iter().position(|node| node.endpoint == order.endpoint) else {
            return self.answer_now(d, ticket, Unknown::Unreachable("connection refused".to_owned()));
        };
        if order.command.is_irreversible() && !self.has_mandate(d) {
            return self.answer_now(d, ticket, Unknown::Refuses("the lock is not held any more".to_owned()));
        }
        if let Command::Assign { to: Assignment::SlaveOf(endpoint), .. } = &order.command {
            let master = self.nodes.iter().position(|node| node.endpoint == *endpoint);
            self.nodes[node].attached_knowing = master.map_or(0, |master| self.dictators[d].knows[master]);
        }
        let line = self.dictators[d].lines[node];
        if let Some(session) = order.session {
            let bound = line.ready
                && line.connection.is_some_and(|connection| self.connections[connection].id == session.0);
            if !bound {
                let lost = Unknown::Unreachable("the connection is closed".to_owned());
                return self.answer_now(d, ticket, lost);
            }
        }
        let connection = match line.connection {
            Some(connection) => connection,
            None => {
                let (party, state) = (self.dictator_party(d), &self.dictators[d]);
                let connection = self.connect(party, node, Some((d, state.life, state.epoch)));
                self.dictators[d].lines[node] = Line { connection: Some(connection), ready: false };
                connection
            }
        };
        let state = &mut self.dictators[d];
        state.serial += 1;
        let serial = state.serial;
        let deadline = order.deadline.as_micros() as Time;
        let sent = line.ready;
        let kept = Ticket {
            serial,
            ticket: Some(ticket),
            node,
            connection: Some(connection),
            sent,
            command: order.command,
            reused: sent && order.session.is_none(),
            due: self.now + deadline,
        };
        if sent {
            let command = kept.command.clone();
            self.note(|_| {
                format!("dictator {d}: sends {} to node {node} (ticket {serial})", describe(&command))
            });
            self.request(connection, Request::Order { ticket: serial, command });
        }
        self.dictators[d].tickets.push(kept);
        self.dictator_after(d, deadline, Timer::Deadline(serial));
    }

    fn observe_again(&mut self, d: usize, number: u64, ticket: Ticket) {
        let node = &self.nodes[ticket.node];
        self.send_order(
            d,
            number,
            Order {
                node: node.name.clone(),
                endpoint: node.endpoint,
                session: None,
                command: ticket.command,
                deadline: Duration::from_micros(ticket.due - self.now),
            },
        );
    }

    /// The name is acknowledged and the lock was asked after that: what waited is sent.
    pub(super) fn line_ready(&mut self, d: usize, connection: ConnectionIndex) {
        let node = self.connections[connection].node;
        if self.dictators[d].lines[node].connection != Some(connection) {
            return;
        }
        if self.locked()
            && !self.lock.is_current(self.dictators[d].epoch, self.now)
            && !mutant::active(Mutant::NoLockCheck)
        {
            self.dictators[d].lease_until = 0;
            return self.give_up(d, node, &Unknown::Refuses("the lock is not held any more".to_owned()));
        }
        self.dictators[d].lines[node].ready = true;
        for at in 0..self.dictators[d].tickets.len() {
            let waits = &mut self.dictators[d].tickets[at];
            if waits.connection == Some(connection) && !waits.sent {
                waits.sent = true;
                let (ticket, command) = (waits.serial, waits.command.clone());
                self.request(connection, Request::Order { ticket, command });
            }
        }
    }

    pub(crate) fn dictator_hears(
        &mut self,
        d: usize,
        life: u32,
        connection: ConnectionIndex,
        heard: Response,
    ) {
        if !self.dictators[d].up || self.dictators[d].life != life {
            return;
        }
        let node = self.connections[connection].node;
        match heard {
            Response::Welcome => {
                if self.locked() {
                    let delay = self.delay() * 2;
                    self.dictator_after(d, delay, Timer::Checked(connection));
                } else {
                    self.line_ready(d, connection);
                }
            }
            Response::Reset => {
                if self.dictators[d].lines[node].connection == Some(connection) {
                    self.give_up(d, node, &Unknown::Unreachable("connection reset".to_owned()));
                }
            }
            Response::Answer { ticket, answer } => {
                self.dictators[d].knows[node] = self.connections[connection].life;
                self.moment();
                if !self.dictators[d].up || self.dictators[d].life != life {
                    return;
                }
                let state = &mut self.dictators[d];
                let Some(at) = state.tickets.iter().position(|other| other.serial == ticket) else { return };
                let Some(ticket) = state.tickets.swap_remove(at).ticket else { return };
                if state.stopped {
                    // Heard in the moment it was stopped: it goes on from here when it continues.
                    state.serial += 1;
                    let serial = state.serial;
                    state.instant.push((serial, ticket, *answer));
                    state.held_timers.push(Timer::Instant(serial));
                    return;
                }
                self.tell(d, Happened::Answer { ticket, answer: *answer });
            }
            Response::Written { .. } | Response::Rejected { .. } => {}
        }
    }

    pub(super) fn deadline(&mut self, d: usize, serial: u64) {
        let late = self.dictators[d].tickets.iter().find(|ticket| ticket.serial == serial);
        let Some((node, connection)) = late.map(|ticket| (ticket.node, ticket.connection)) else { return };
        if self.dictators[d].lines[node].connection == connection {
            self.give_up(d, node, &Unknown::Silent(0));
        }
    }

    /// Closes the connection to a node; what was sent on it has an unknown outcome.
    pub(super) fn give_up(&mut self, d: usize, node: NodeIndex, reason: &Unknown) {
        let line = std::mem::take(&mut self.dictators[d].lines[node]);
        let Some(connection) = line.connection else { return };
        self.note(|_| format!("dictator {d}: gives up its connection to node {node}: {reason}"));
        self.close(connection);
        let state = &mut self.dictators[d];
        let (failed, kept) = std::mem::take(&mut state.tickets)
            .into_iter()
            .partition::<Vec<_>, _>(|ticket| ticket.connection == Some(connection));
        state.tickets = kept;
        let reset = matches!(reason, Unknown::Unreachable(_));
        for ticket in failed {
            let Some(number) = ticket.ticket else { continue };
            if reset
                && ticket.reused
                && matches!(ticket.command, Command::Observe { .. })
                && self.now < ticket.due
            {
                // The connection had ended unnoticed; as the dictator does, it is read over a new one.
                self.observe_again(d, number, ticket);
                continue;
            }
            let failure = if ticket.sent {
                Failure::NoReply(reason.clone())
            } else {
                Failure::NotExecuted(reason.clone())
            };
            let state = &mut self.dictators[d];
            state.serial += 1;
            let serial = state.serial;
            state.instant.push((serial, number, Err(failure)));
            self.dictator_after(d, 1, Timer::Instant(serial));
        }
    }
}
