//! Access control services: which requests that a port or function *receives* it sends on towards the root.

use core::{
    fmt,
    ops::{BitAnd, BitOr, Not},
};

/// Bits of the ACS capability and control registers, which agree in their positions (PCI Express Base 6.0, sections
/// 7.7.11.2 and 7.7.11.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AcsBits(pub u16);

impl AcsBits {
    /// None.
    pub const NONE: Self = Self(0);
    /// Source validation: requester IDs from outside the port's buses are refused.
    pub const SV: Self = Self(1 << 0);
    /// Translation blocking: requests marked as translated are refused.
    pub const TB: Self = Self(1 << 1);
    /// Peer-to-peer request redirect.
    pub const RR: Self = Self(1 << 2);
    /// Peer-to-peer completion redirect.
    pub const CR: Self = Self(1 << 3);
    /// Upstream forwarding: what a port would send back down goes up.
    pub const UF: Self = Self(1 << 4);
    /// Peer-to-peer egress control: a vector decides which peers are reached directly.
    pub const EC: Self = Self(1 << 5);
    /// Direct translated peer-to-peer.
    pub const DT: Self = Self(1 << 6);
    /// I/O request blocking; in the control register only.
    pub const IB: Self = Self(1 << 7);
    /// The enhanced bits are there; in the capability register only, at the place of I/O request blocking.
    pub const ENHANCED: Self = Self(1 << 7);
    /// Access to memory of the downstream port itself, two bits.
    pub const DSP_MEMORY: Self = Self(3 << 8);
    /// Access to memory of the upstream port, two bits.
    pub const USP_MEMORY: Self = Self(3 << 10);
    /// Unclaimed request redirect.
    pub const UNCLAIMED: Self = Self(1 << 12);
    /// What Linux asks of every port on the way to the root before it gives a device a group of its own.
    pub const ISOLATION: Self = Self(1 << 0 | 1 << 2 | 1 << 3 | 1 << 4);
    /// What the path must do before PASIDs are granted: every request goes up.
    pub const REDIRECTION: Self = Self(1 << 2 | 1 << 4);

    /// Whether every bit of `other` is set.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Of a capability register: the bits that the control register has. The enhanced ones are there all or none.
    pub const fn controllable(self) -> Self {
        let enhanced = if self.covers(Self::ENHANCED) {
            Self::IB.0 | Self::DSP_MEMORY.0 | Self::USP_MEMORY.0 | Self::UNCLAIMED.0
        } else {
            0
        };
        Self(self.0 & 0x7f | enhanced)
    }

    /// Whether none is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitAnd for AcsBits {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for AcsBits {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Not for AcsBits {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// The bits by the names that `lspci` gives them.
pub(crate) const NAMES: [(AcsBits, &str); 7] = [
    (AcsBits::SV, "SrcValid"),
    (AcsBits::TB, "TransBlk"),
    (AcsBits::RR, "ReqRedir"),
    (AcsBits::CR, "CmpltRedir"),
    (AcsBits::UF, "UpstreamFwd"),
    (AcsBits::EC, "EgressCtrl"),
    (AcsBits::DT, "DirectTrans"),
];

impl fmt::Display for AcsBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut gap = "";
        for (bit, name) in NAMES {
            if self.covers(bit) {
                write!(f, "{gap}{name}")?;
                (gap, rest) = (" ", rest & !bit.0);
            }
        }
        match rest {
            0 if gap.is_empty() => f.write_str("none"),
            0 => Ok(()),
            rest => write!(f, "{gap}{rest:#x}"),
        }
    }
}

impl fmt::Debug for AcsBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AcsBits({self})")
    }
}

/// An ACS capability.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Acs {
    /// What can be set; none where a dump shows only that the capability is there.
    pub capability: Option<AcsBits>,
    /// What is set; none likewise.
    pub control: Option<AcsBits>,
    /// The low half of the doubleword after the two, where ports of Intel's 100 and 200 series chipsets keep what is
    /// set; none where nobody could read it.
    pub next_word: Option<AcsBits>,
    /// Whether bit n of the egress control vector is set for all of its bits; none if there is none or it was not read.
    pub egress_all: Option<bool>,
}
