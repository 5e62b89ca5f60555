//! Bounded walks of capability lists.
//!
//! Each walk visits an offset once: a list that loops ends there and is reported.

use crate::{ConfigSpace, Problem, regs};

/// A set of offsets that are multiples of 4, below 4096.
struct Visited([u64; 16]);

impl Visited {
    /// Whether `offset` was not yet in it.
    fn insert(&mut self, offset: u16) -> bool {
        let index = usize::from(offset / 4);
        let (word, bit) = (&mut self.0[(index / 64) % 16], 1u64 << (index % 64));
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }
}

/// One capability.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    /// Where it begins, in bytes.
    pub offset: u16,
    /// Its ID: 8 bits of a conventional one, 16 of an extended one.
    pub id: u16,
    /// The version of an extended one; zero of a conventional one.
    pub version: u8,
}

/// Walks the conventional list, which lies in 40h to FFh (PCI Local Bus 3.0, section 6.7). `first` is where the header
/// keeps its pointer: [`regs::CAPABILITIES`], or [`regs::CARDBUS_CAPABILITIES`] of a CardBus bridge.
///
/// `Err` after the last capability that could be read tells what ended the walk early.
pub fn conventional<C: ConfigSpace + ?Sized>(
    config: &C,
    first: u16,
    mut each: impl FnMut(Capability),
) -> Result<(), Problem> {
    let command = config.read32(regs::COMMAND).ok_or(Problem::Unread { offset: regs::COMMAND })?;
    if command & regs::STATUS_CAPABILITIES == 0 {
        return Ok(());
    }
    let mut offset = u16::from(config.read8(first).ok_or(Problem::Unread { offset: first })? & !3);
    let mut visited = Visited([0; 16]);
    while offset != 0 {
        if !(0x40..regs::CONVENTIONAL_BYTES).contains(&offset) {
            return Err(Problem::CapabilityOutside { offset });
        }
        if !visited.insert(offset) {
            return Err(Problem::CapabilityLoop { offset });
        }
        let word = config.read32(offset).ok_or(Problem::Unread { offset })?;
        if word & 0xff == 0xff {
            // All ones: the function is gone, or the pointer leads into nothing.
            return Err(Problem::CapabilityOutside { offset });
        }
        each(Capability { offset, id: (word & 0xff) as u16, version: 0 });
        offset = (word >> 8 & 0xfc) as u16;
    }
    Ok(())
}

/// Walks the extended list, which begins at 100h (PCI Express Base 6.0, section 7.6.3).
///
/// `Err` after the last capability that could be read tells what ended the walk early.
pub fn extended<C: ConfigSpace + ?Sized>(
    config: &C,
    mut each: impl FnMut(Capability),
) -> Result<(), Problem> {
    let mut offset = regs::EXTENDED_CAPABILITIES;
    let mut visited = Visited([0; 16]);
    loop {
        if !visited.insert(offset) {
            return Err(Problem::CapabilityLoop { offset });
        }
        let word = config.read32(offset).ok_or(Problem::Unread { offset })?;
        // An empty list is all zeros (7.6.3) or, where there is no extended space, all ones.
        if offset == regs::EXTENDED_CAPABILITIES && (word == 0 || word == u32::MAX) {
            return Ok(());
        }
        if word == u32::MAX {
            return Err(Problem::CapabilityOutside { offset });
        }
        if word & 0xffff != 0 {
            each(Capability { offset, id: word as u16, version: (word >> 16 & 0xf) as u8 });
        }
        let next = (word >> 20 & 0xffc) as u16;
        match next {
            0 => return Ok(()),
            _ if next < regs::EXTENDED_CAPABILITIES => {
                return Err(Problem::CapabilityOutside { offset: next });
            }
            _ => offset = next,
        }
    }
}

/// Where the first conventional capability of this ID begins.
pub fn find<C: ConfigSpace + ?Sized>(config: &C, id: u8) -> Option<u16> {
    let mut found = None;
    let walk = conventional(config, regs::CAPABILITIES, |cap| {
        if cap.id == u16::from(id) && found.is_none() {
            found = Some(cap.offset);
        }
    });
    // What was found before a list went wrong is still there.
    let _ = walk;
    found
}

/// Where the first extended capability of this ID begins.
pub fn find_extended<C: ConfigSpace + ?Sized>(config: &C, id: u16) -> Option<u16> {
    let mut found = None;
    let walk = extended(config, |cap| {
        if cap.id == id && found.is_none() {
            found = Some(cap.offset);
        }
    });
    // As above.
    let _ = walk;
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};

    fn space(words: &[(usize, u32)], bytes: usize) -> Vec<u8> {
        let mut space = vec![0; bytes];
        for &(at, word) in words {
            space[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        space
    }

    fn ids(config: &[u8]) -> (Vec<u16>, Result<(), Problem>) {
        let mut ids = Vec::new();
        let end = conventional(config, regs::CAPABILITIES, |cap| ids.push(cap.id));
        (ids, end)
    }

    const HAS_LIST: (usize, u32) = (4, regs::STATUS_CAPABILITIES);

    #[test]
    fn a_list_is_followed_to_its_end() {
        let config = space(&[HAS_LIST, (0x34, 0x40), (0x40, 0x5001), (0x50, 0x0010)], 256);
        assert_eq!(ids(&config), (vec![1, 0x10], Ok(())));
        assert_eq!(find(&config[..], 0x10), Some(0x50));
    }

    #[test]
    fn without_the_status_bit_there_is_no_list() {
        assert_eq!(ids(&space(&[(0x34, 0x40), (0x40, 1)], 256)), (vec![], Ok(())));
    }

    #[test]
    fn loops_strays_and_cuts_end_the_walk_and_are_named() {
        let looped = space(&[HAS_LIST, (0x34, 0x40), (0x40, 0x5001), (0x50, 0x4005)], 256);
        assert_eq!(ids(&looped), (vec![1, 5], Err(Problem::CapabilityLoop { offset: 0x40 })));
        let stray = space(&[HAS_LIST, (0x34, 0x40), (0x40, 0x1001)], 256);
        assert_eq!(ids(&stray), (vec![1], Err(Problem::CapabilityOutside { offset: 0x10 })));
        let cut = space(&[HAS_LIST, (0x34, 0x40)], 64);
        assert_eq!(ids(&cut), (vec![], Err(Problem::Unread { offset: 0x40 })));
        let gone = vec![0xff; 256];
        assert_eq!(ids(&gone).1, Err(Problem::CapabilityOutside { offset: 0xfc }));
    }

    #[test]
    fn extended_lists_too() {
        let good = space(&[(0x100, 0x1401_0001), (0x140, 0x0001_000d)], 4096);
        assert_eq!(find_extended(&good[..], regs::EXT_ACS), Some(0x140));
        let looped = space(&[(0x100, 0x1401_0001), (0x140, 0x1001_000d)], 4096);
        assert_eq!(extended(&looped[..], |_| ()), Err(Problem::CapabilityLoop { offset: 0x100 }));
        let low = space(&[(0x100, 0x0401_0001)], 4096);
        assert_eq!(extended(&low[..], |_| ()), Err(Problem::CapabilityOutside { offset: 0x40 }));
        assert_eq!(extended(&vec![0xff; 4096][..], |_| panic!("nothing is there")), Ok(()));
        assert_eq!(extended(&[0u8; 256][..], |_| ()), Err(Problem::Unread { offset: 0x100 }));
        // 4096 bytes of headers that lead everywhere: every word is visited at most once.
        let wild: Vec<u8> = (0..4096usize).map(|at| (at.wrapping_mul(167) >> 3) as u8).collect();
        let mut count = 0;
        let _ = extended(&wild[..], |_| count += 1);
        assert!(count <= 1024);
    }
}
