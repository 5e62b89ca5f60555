//! What is wrong with configuration space or with a dump of it.

use crate::Bdf;
use core::fmt;

/// A problem and the function that it was found in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Finding {
    /// Where.
    pub function: Bdf,
    /// What.
    pub problem: Problem,
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// A capability list returns to this offset.
    CapabilityLoop {
        /// In bytes.
        offset: u16,
    },
    /// A capability pointer leads outside the part of configuration space where capabilities live.
    CapabilityOutside {
        /// In bytes.
        offset: u16,
    },
    /// A capability is longer than what is left of configuration space.
    CapabilityCut {
        /// In bytes.
        offset: u16,
    },
    /// Configuration space could not be read from this offset on; as a rule, root may.
    Unread {
        /// In bytes.
        offset: u16,
    },
    /// Lines of a hex dump are missing before this offset, or out of order.
    DumpGap {
        /// In bytes.
        offset: u16,
    },
    /// A bridge whose primary bus is not the bus that it is on.
    WrongPrimary {
        /// What its register says.
        primary: u8,
    },
    /// A bridge whose secondary bus is not above its own, or whose subordinate bus is below its secondary.
    BusRange {
        /// The secondary bus.
        secondary: u8,
        /// The subordinate bus.
        subordinate: u8,
    },
    /// A bridge with a secondary bus that another bridge has already, or that is a root bus: a loop or a duplicate.
    BusTaken {
        /// The secondary bus.
        secondary: u8,
    },
    /// A bridge whose bus range leaves that of the bridge above it.
    BusOutsideParent {
        /// The secondary bus.
        secondary: u8,
        /// The subordinate bus.
        subordinate: u8,
        /// The last bus that the bridge above forwards.
        limit: u8,
    },
    /// Functions on a bus that no bridge leads to and that is not known to be a root bus.
    OrphanBus,
    /// A bridge that did not take the bus numbers written to it.
    BusesReadOnly,
    /// No bus number was left for a bridge.
    NoBusLeft,
    /// Fewer bus numbers were left than a function's virtual functions need.
    NoBusForVirtual {
        /// How many more they need.
        missing: u8,
    },
    /// A header type that is none of 0, 1 and 2.
    HeaderType {
        /// The type, without the multifunction bit.
        kind: u8,
    },
    /// A base address register that does not size as a power of two, or a 64-bit one in the last slot.
    BarShape {
        /// Which register, from 0.
        index: u8,
    },
    /// No window has room for a base address register.
    BarNoRoom {
        /// Which register, from 0.
        index: u8,
        /// How many bytes it wants.
        bytes: u64,
    },
    /// A function is described twice.
    Twice,
    /// A virtual function's number, as SR-IOV computes it, leaves the segment's buses.
    VirtualOutside {
        /// Which virtual function, from 1.
        index: u16,
    },
    /// A device that issues requests under numbers that it keeps in registers of its own.
    AliasesUnread,
    /// SR-IOV with a stride of zero and more than one virtual function.
    VirtualStride,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapabilityLoop { offset } => write!(f, "the capability list loops at {offset:#x}"),
            Self::CapabilityOutside { offset } => {
                write!(f, "a capability pointer leads to {offset:#x}, where no capability can be")
            }
            Self::CapabilityCut { offset } => write!(f, "the capability at {offset:#x} is cut short"),
            Self::Unread { offset } => write!(f, "configuration space could not be read from {offset:#x} on"),
            Self::DumpGap { offset } => write!(f, "the dump has a gap before {offset:#x}"),
            Self::WrongPrimary { primary } => {
                write!(f, "its primary bus {primary:02x} is not the bus it is on")
            }
            Self::BusRange { secondary, subordinate } => {
                write!(f, "its buses {secondary:02x} to {subordinate:02x} make no range below it")
            }
            Self::BusTaken { secondary } => {
                write!(f, "its secondary bus {secondary:02x} is another bridge's already")
            }
            Self::BusOutsideParent { secondary, subordinate, limit } => write!(
                f,
                "its buses {secondary:02x} to {subordinate:02x} leave those of the bridge above, which end at {limit:02x}"
            ),
            Self::OrphanBus => f.write_str("no bridge leads to its bus"),
            Self::BusesReadOnly => f.write_str("it does not take bus numbers"),
            Self::NoBusLeft => f.write_str("no bus number was left for it"),
            Self::NoBusForVirtual { missing } => {
                write!(f, "its virtual functions need {missing} bus numbers more than were left")
            }
            Self::HeaderType { kind } => write!(f, "header type {kind:#x} is not known"),
            Self::BarShape { index } => write!(f, "base address register {index} makes no sense"),
            Self::BarNoRoom { index, bytes } => {
                write!(f, "no window has room for the {bytes:#x} bytes of base address register {index}")
            }
            Self::Twice => f.write_str("it is described twice; the first description counts"),
            Self::VirtualOutside { index } => {
                write!(f, "virtual function {index} would be on a bus beyond the segment's last")
            }
            Self::AliasesUnread => f.write_str(
                "it also issues requests under numbers of its bus that its own registers hold and nobody could read",
            ),
            Self::VirtualStride => f.write_str("its virtual functions have a stride of zero"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.function, self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeSet, string::ToString};

    #[test]
    fn every_problem_has_words_of_its_own() {
        let (offset, secondary, subordinate, index) = (0x140, 3, 5, 2);
        let problems = [
            Problem::CapabilityLoop { offset },
            Problem::CapabilityOutside { offset },
            Problem::CapabilityCut { offset },
            Problem::Unread { offset },
            Problem::DumpGap { offset },
            Problem::WrongPrimary { primary: 1 },
            Problem::BusRange { secondary, subordinate },
            Problem::BusTaken { secondary },
            Problem::BusOutsideParent { secondary, subordinate, limit: 4 },
            Problem::OrphanBus,
            Problem::BusesReadOnly,
            Problem::NoBusLeft,
            Problem::NoBusForVirtual { missing: 1 },
            Problem::HeaderType { kind: 7 },
            Problem::BarShape { index },
            Problem::BarNoRoom { index, bytes: 0x1000 },
            Problem::Twice,
            Problem::VirtualOutside { index: 9 },
            Problem::VirtualStride,
            Problem::AliasesUnread,
        ];
        let words: BTreeSet<_> = problems
            .iter()
            .map(|&problem| Finding { function: Bdf::new(0, 1, 2, 3), problem }.to_string())
            .collect();
        assert_eq!(words.len(), problems.len());
        assert!(words.iter().all(|words| words.starts_with("0000:01:02.3: ") && words.len() > 20));
    }
}
