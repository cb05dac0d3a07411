//! The record and the lock: what is durable, and who may act.

use topology::mutant::{self, Mutant};
use topology::record::Record;

use super::{LEASE, LEASE_INTERVAL, Line, SAVE_TIME_MAX};
use crate::event::Timer;
use crate::world::{MILLISECOND, World};

impl World {
    pub(super) fn begin_save(&mut self, d: usize, ticket: u64, record: Box<Record>) {
        let delay = self.chance.between(MILLISECOND / 10, SAVE_TIME_MAX);
        let fails = self.now < self.dictators[d].saves_fail_until;
        self.dictators[d].saves.push((ticket, Some(record)));
        if !fails && self.chance.one_in(2) {
            // Durable at once; a crash before the report finds it written.
            let _ = self.commit(d, ticket, true);
        }
        self.dictator_after(d, delay, Timer::Saved { ticket, sound: !fails });
    }

    /// Writes a record, once. With a lock the write is a transaction on its key.
    pub(super) fn commit(&mut self, d: usize, ticket: u64, sound: bool) -> Result<(), String> {
        if !sound {
            return Err("no space left on device".to_owned());
        }
        let at = self.dictators[d].saves.iter().position(|(other, _)| *other == ticket);
        let Some(record) = at.and_then(|at| self.dictators[d].saves[at].1.take()) else { return Ok(()) };
        if !self.locked() {
            self.told_of(&record);
            self.dictators[d].durable = *record;
            return Ok(());
        }
        if !self.lock.owns_key(self.dictators[d].epoch) && !mutant::active(Mutant::NoLockCheck) {
            return Err("the lock is another's".to_owned());
        }
        self.told_of(&record);
        self.shared_record = *record;
        Ok(())
    }

    pub(super) fn lease(&mut self, d: usize) {
        let life = self.dictators[d].life;
        self.dictator_after(d, LEASE_INTERVAL, Timer::Lease);
        let Some(epoch) = self.lock.take(d, life, self.now, LEASE) else {
            if mutant::active(Mutant::NoLockCheck) && self.dictators[d].epoch == 0 {
                self.take_office(d, 1);
            }
            return;
        };
        // The lease counts from when it was asked for.
        self.dictators[d].lease_until = self.now + LEASE;
        if epoch != self.dictators[d].epoch {
            self.take_office(d, epoch);
        }
    }

    pub(super) fn take_office(&mut self, d: usize, epoch: u64) {
        self.note(|_| format!("dictator {d}: holds the lock, epoch {epoch}"));
        let state = &mut self.dictators[d];
        state.epoch = epoch;
        state.conduct = None;
        state.held.clear();
        state.tickets.clear();
        state.instant.clear();
        state.record = self.shared_record.clone();
        for line in std::mem::replace(&mut state.lines, vec![Line::default(); self.nodes.len()]) {
            if let Some(connection) = line.connection {
                self.close(connection);
            }
        }
        self.enforce_after(d, MILLISECOND);
    }
}
