//! The data set of a simulated node: a set of write ids.
//!
//! Every write of a schedule has its own small number, so a data set is a row of bits, a copy is a
//! few machine words, and "nothing acknowledged is missing" is one bit operation. Values, types and
//! overwrites are left out: a lost overwrite is a lost id here.

use std::fmt;

/// Most writes in one schedule.
pub const WRITES_MAX: u16 = 512;
const WORD_BITS: u16 = 64;
const WORDS: usize = (WRITES_MAX / WORD_BITS) as usize;

/// A set of write ids.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Writes([u64; WORDS]);

impl Writes {
    /// The empty set.
    pub const NONE: Self = Self([0; WORDS]);

    /// Adds a write.
    pub fn insert(&mut self, id: u16) {
        self.0[usize::from(id / WORD_BITS)] |= 1 << (id % WORD_BITS);
    }

    /// Takes a write away.
    pub fn remove(&mut self, id: u16) {
        self.0[usize::from(id / WORD_BITS)] &= !(1 << (id % WORD_BITS));
    }

    /// Whether a write is in it.
    pub fn contains(&self, id: u16) -> bool {
        self.0[usize::from(id / WORD_BITS)] & (1 << (id % WORD_BITS)) != 0
    }

    /// How many writes are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// What is in either.
    pub fn with(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
    }

    /// What is in this and not in the other.
    pub fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & !other.0[at]))
    }

    /// What is in both.
    pub fn common(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at] & other.0[at]))
    }

    /// The ids, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u16> + '_ {
        (0..WRITES_MAX).filter(|id| self.contains(*id))
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_subtract_and_list() {
        let (mut left, mut right) = (Writes::NONE, Writes::NONE);
        for id in [0, 63, 64, 255] {
            left.insert(id);
        }
        right.insert(64);
        assert_eq!(left.without(&right).ids().collect::<Vec<_>>(), [0, 63, 255]);
        assert_eq!(left.common(&right), right);
        assert_eq!(left.count(), 4);
        left.remove(0);
        assert!(!left.contains(0) && right.with(&left) == left);
    }
}
