//! The lock order, and its check (rule 16).
//!
//! From the outside in; whoever holds one may take only those below it:
//!
//! | rank | lock | held over |
//! | --- | --- | --- |
//! | [`Rank::Control`] | the registry: probing, groups, ownership | hardware waits, `synchronize`; may sleep |
//! | [`Rank::Filling`] | an address space whose new carrier is being filled | a few table entries |
//! | [`Rank::Iova`] | an address space's IOVA tree | one allocation |
//! | [`Rank::Sources`] | who owns which source, for faults | one look-up |
//! | [`Rank::Lazy`] | which address spaces flush later, for polling | one look-up |
//!
//! A driver's own locks come below all of them. Mapping takes [`Rank::Iova`] and, while a carrier is being filled,
//! [`Rank::Filling`]; it never takes [`Rank::Control`].
//!
//! With the feature `lock-order` (for tests: it needs `std`) every acquisition is checked against what the thread
//! holds, and an inversion panics. Without it the check is empty.

use ioward_types::{Guard, Mutex, RawLock};

/// Where a lock stands. Greater is further in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// The registry.
    Control = 1,
    /// An address space in transition.
    Filling = 2,
    /// An IOVA tree.
    Iova = 3,
    /// The map from sources to devices.
    Sources = 4,
    /// The list of lazy address spaces.
    Lazy = 5,
}

/// That a lock of some rank is held by this thread. Dropped with the lock.
#[derive(Debug)]
#[must_use]
pub struct Held {
    #[cfg(feature = "lock-order")]
    rank: Rank,
}

#[cfg(feature = "lock-order")]
mod check {
    extern crate std;
    use super::Rank;
    use core::cell::RefCell;
    use std::vec::Vec;

    std::thread_local! { static RANKS: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) }; }

    pub fn enter(rank: Rank) {
        RANKS.with_borrow_mut(|ranks| {
            if let Some(inner) = ranks.iter().find(|held| **held >= rank) {
                panic!("lock order: {rank:?} taken while {inner:?} is held");
            }
            ranks.push(rank);
        });
    }

    pub fn leave(rank: Rank) {
        RANKS.with_borrow_mut(|ranks| {
            if let Some(at) = ranks.iter().rposition(|held| *held == rank) {
                ranks.remove(at);
            }
        });
    }

    /// What this thread holds, outermost first.
    pub fn held() -> Vec<Rank> {
        RANKS.with_borrow(|ranks| ranks.clone())
    }
}

/// What this thread holds, outermost first.
#[cfg(feature = "lock-order")]
pub use check::held;

impl Held {
    /// To be called before the lock itself is taken.
    pub fn enter(rank: Rank) -> Self {
        #[cfg(feature = "lock-order")]
        {
            check::enter(rank);
            Self { rank }
        }
        #[cfg(not(feature = "lock-order"))]
        {
            let _ = rank;
            Self {}
        }
    }
}

#[cfg(feature = "lock-order")]
impl Drop for Held {
    fn drop(&mut self) {
        check::leave(self.rank);
    }
}

/// A platform lock with a rank.
pub(crate) struct Ranked<L, T> {
    rank: Rank,
    mutex: Mutex<L, T>,
}

/// Declared in this order: the lock is given back before the rank.
pub(crate) struct RankedGuard<'m, L: RawLock, T> {
    guard: Guard<'m, L, T>,
    _held: Held,
}

impl<L: RawLock, T> Ranked<L, T> {
    pub fn new(rank: Rank, value: T) -> Self {
        Self { rank, mutex: Mutex::new(value) }
    }

    pub fn lock(&self) -> RankedGuard<'_, L, T> {
        let held = Held::enter(self.rank);
        RankedGuard { guard: self.mutex.lock(), _held: held }
    }
}

impl<L: RawLock, T> core::ops::Deref for RankedGuard<'_, L, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<L: RawLock, T> core::ops::DerefMut for RankedGuard<'_, L, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
