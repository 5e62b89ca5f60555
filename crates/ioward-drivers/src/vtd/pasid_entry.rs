//! PASID table entries (9.6), encoded, and how one changes.
//!
//! Hardware reads the 512 bits in pieces of 128 (6.5.3.3). The first piece says what kind of translation it is, holds the
//! second-stage table and the domain ID; the second piece is about the first stage and means nothing for any other kind;
//! the rest is zero. So a change between kinds that are not first stage is one store; one to first stage stores the second
//! piece, waits until no read from before is under way, and stores the first; one from first stage stores the first piece.
//! Only between two first-stage tables, of which both pieces differ, the entry goes through not present.

use super::context_entry::address_width;
use super::memory::{Pair, Settle, Shared};
use super::source::Held;
use ioward_core::driver::Hung;
use ioward_spec::vtd::pasid::entry::{self as spec, fspm, pgtt};
use ioward_types::Platform;

/// Both pieces that are ever anything but zero.
pub(super) type Pieces = [Pair; 2];

/// What a unit wants of every entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ways {
    /// The domain of pass-through.
    pub identity: u16,
    /// The most levels of a second-stage table, or zero.
    pub most: u8,
    /// Walks can snoop CPU caches, and do (ECAP.SMPWCS).
    pub snooped_walks: bool,
}

/// The entry of what requests go through.
pub(super) fn encode(held: &Held, ways: Ways) -> Pieces {
    let mut words = [0; 4];
    spec::P.set(&mut words, 1);
    spec::DID.set(&mut words, held.domain(ways.identity).into());
    match held {
        Held::Identity => {
            spec::PGTT.set(&mut words, pgtt::PASS_THROUGH);
            if ways.most != 0 {
                spec::AW.set(&mut words, address_width(ways.most));
            }
        }
        Held::Second { root, levels, dirty, .. } => {
            spec::PGTT.set(&mut words, pgtt::SECOND);
            spec::AW.set(&mut words, address_width(*levels));
            spec::SSADE.set(&mut words, (*dirty).into());
            spec::SSPTPTR.set_in_place(&mut words, root.0);
            spec::PWSNP.set(&mut words, ways.snooped_walks.into());
        }
        Held::First { root, five, snoop, .. } => {
            spec::PGTT.set(&mut words, pgtt::FIRST);
            // It is about the second stage, and QEMU 10 takes it for the width of first-stage addresses. Linux writes it
            // in every entry.
            spec::AW.set(&mut words, address_width(if *five { 5 } else { 4 }));
            spec::PWSNP.set(&mut words, ways.snooped_walks.into());
            spec::PGSNP.set(&mut words, (*snoop).into());
            spec::FSPM.set(&mut words, if *five { fspm::LEVELS_5 } else { fspm::LEVELS_4 });
            // Tables may say execute-disable (9.7, XD).
            spec::NXE.set(&mut words, 1);
            spec::FSPTPTR.set_in_place(&mut words, root.0);
        }
    }
    [[words[0], words[1]], [words[2], words[3]]]
}

fn is_first(piece: &Pair) -> bool {
    spec::P.is_set(piece) && matches!(spec::PGTT.get(piece), pgtt::FIRST | pgtt::NESTED)
}

/// Makes the entry at `offset` `new`, so that hardware sees the old one, the new one or one that is not present.
/// `reachable`: the context entry leads here, or may be cached as one that did. On `Err` from `settle` it is the old one or not present.
pub(super) fn write<P: Platform>(
    table: &Shared<P>,
    offset: usize,
    new: &Pieces,
    reachable: bool,
    settle: Settle<'_>,
) -> Result<(), Hung> {
    let second = offset + 16;
    if !reachable {
        table.store_unseen(second, new[1]);
        table.store_unseen(offset, new[0]);
        table.publish();
        return Ok(());
    }
    let old = [table.load_pair(offset), table.load_pair(second)];
    if is_first(&new[0]) && old[1] != new[1] {
        if is_first(&old[0]) {
            table.withdraw(offset);
            table.publish();
            settle()?;
        }
        table.store_unseen(second, new[1]);
        table.publish();
        settle()?;
    }
    // What another kind has in its second piece is looked at by nobody, and stays.
    table.replace(offset, new[0], settle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward_types::PhysAddr;

    const WAYS: Ways = Ways { identity: 1, most: 4, snooped_walks: true };

    #[test]
    fn entries_as_linux_writes_them() {
        let root = PhysAddr(0x1_2345_6000);
        let second = Held::Second { tag: 0x22, root, levels: 4, dirty: false };
        assert_eq!(encode(&second, WAYS), [[0x1_2345_6089, 0x80_0022], [0, 0]]);
        let dirty = Held::Second { tag: 0x22, root, levels: 5, dirty: true };
        assert_eq!(encode(&dirty, WAYS)[0], [0x1_2345_628d, 0x80_0022]);
        let first = Held::First { tag: 0x22, root, five: false, snoop: false };
        assert_eq!(encode(&first, WAYS), [[0x49, 0x80_0022], [0x1_2345_6020, 0]]);
        let five = Held::First { tag: 0x22, root, five: true, snoop: true };
        assert_eq!(encode(&five, WAYS), [[0x4d, 0x180_0022], [0x1_2345_6024, 0]]);
        assert_eq!(encode(&Held::Identity, WAYS), [[0x109, 1], [0, 0]]);
    }
}
