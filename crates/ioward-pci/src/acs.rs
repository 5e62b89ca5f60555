//! Access control services: which requests that a port or function *receives* it sends on towards the root.

use alloc::string::String;
use core::{
    fmt,
    ops::{BitAnd, BitOr, Not},
    str::FromStr,
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
    /// What becomes of requests for memory of downstream ports themselves, a number of two bits; see
    /// [`AcsBits::downstream_memory`].
    pub const DSP_MEMORY: Self = Self(3 << 8);
    /// What becomes of requests for memory of the upstream port, likewise.
    pub const USP_MEMORY: Self = Self(3 << 10);
    /// Requests for memory of downstream ports are refused: [`PortMemory::Blocked`].
    pub const DSP_BLOCK: Self = Self(1 << 8);
    /// Requests for memory of downstream ports go towards the root: [`PortMemory::Redirected`].
    pub const DSP_REDIRECT: Self = Self(1 << 9);
    /// Requests for memory of the upstream port are refused.
    pub const USP_BLOCK: Self = Self(1 << 10);
    /// Requests for memory of the upstream port go towards the root.
    pub const USP_REDIRECT: Self = Self(1 << 11);
    /// Unclaimed request redirect: what the upstream port forwards down and no downstream port claims.
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

    /// Of a control register: what the port does with requests from below for memory of downstream ports of its
    /// component, itself included.
    pub const fn downstream_memory(self) -> PortMemory {
        PortMemory::from_bits((self.0 >> 8) as u8)
    }

    /// Of a control register: what the port does with requests from below for memory of its switch's upstream port.
    pub const fn upstream_memory(self) -> PortMemory {
        PortMemory::from_bits((self.0 >> 10) as u8)
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

/// What a port does with requests from below for memory of ports, of which its component has some if the ports have
/// base address registers (PCI Express Base 6.0, section 7.7.11.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PortMemory {
    /// Lets them through: whoever is below can write the port's registers.
    Direct,
    /// Refuses them.
    Blocked,
    /// Sends them towards the root.
    Redirected,
    /// A value that the specification reserves.
    Reserved,
}

impl PortMemory {
    /// From two bits; others are ignored.
    pub const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Direct,
            1 => Self::Blocked,
            2 => Self::Redirected,
            _ => Self::Reserved,
        }
    }
}

/// An egress control vector (PCI Express Base 6.0, section 7.7.11.4): with egress control on, whether requests to each
/// peer are let through (bit off) or are redirected, or refused where redirection is off (bit on).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EgressVector {
    /// How many bits it has, 1 to 256.
    pub bits: u16,
    /// Bit n of word w is that of peer `32 * w + n`.
    pub words: [u32; 8],
}

impl EgressVector {
    /// Whether requests to a peer are not let through. Peers are counted by port number, or inside a device by function
    /// number. What is beyond the vector is let through.
    pub const fn stops(&self, peer: u8) -> bool {
        (peer as u16) < self.bits && self.words[(peer / 32) as usize] >> (peer % 32) & 1 != 0
    }

    /// Whether requests to every peer that it has a bit for are not let through.
    pub fn stops_all(&self) -> bool {
        (0..self.bits.min(256)).all(|peer| self.stops(peer as u8))
    }
}

/// The enhanced bits of the control register, which `lspci` does not show.
const ENHANCED_NAMES: [(AcsBits, &str); 6] = [
    (AcsBits::IB, "IoReqBlk"),
    (AcsBits::DSP_BLOCK, "DspMemBlk"),
    (AcsBits::DSP_REDIRECT, "DspMemRedir"),
    (AcsBits::USP_BLOCK, "UspMemBlk"),
    (AcsBits::USP_REDIRECT, "UspMemRedir"),
    (AcsBits::UNCLAIMED, "UnclaimedRedir"),
];

/// The specification's short names, in the order of [`NAMES`].
const SHORT: [&str; 7] = ["SV", "TB", "RR", "CR", "UF", "EC", "DT"];

/// A word that names no bits of ACS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAcsBits(pub String);

impl fmt::Display for NotAcsBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\"{}\" names no ACS bits: use names like ReqRedir or RR, separated by commas, isolation for what Linux asks \
             for, or a number like 0x1d",
            self.0
        )
    }
}

impl core::error::Error for NotAcsBits {}

impl FromStr for AcsBits {
    type Err = NotAcsBits;

    /// Reads `ReqRedir,UpstreamFwd`, `RR+UF`, `isolation`, `none` and `0x1d`; upper and lower case do not matter. A
    /// number has bits of the control register only.
    fn from_str(text: &str) -> Result<Self, NotAcsBits> {
        let named = |word: &str| {
            let all = NAMES.into_iter().chain(ENHANCED_NAMES);
            let short = NAMES.into_iter().zip(SHORT).map(|((bits, _), name)| (bits, name));
            let sets = [(Self::ISOLATION, "isolation"), (Self::NONE, "none")];
            all.chain(short)
                .chain(sets)
                .find(|(_, name)| name.eq_ignore_ascii_case(word))
                .map(|(bits, _)| bits)
        };
        let number = |word: &str| {
            let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain
                .then(|| u16::from_str_radix(digits, 16).ok())
                .flatten()
                .filter(|bits| bits >> 13 == 0)
                .map(Self)
        };
        text.split([',', '+', ' ', '|']).try_fold(Self::NONE, |bits, word| {
            named(word)
                .or_else(|| number(word))
                .map(|more| bits | more)
                .ok_or_else(|| NotAcsBits(word.into()))
        })
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
        for (bit, name) in NAMES.into_iter().chain(ENHANCED_NAMES) {
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
    /// The egress control vector; none if there is none or it was not read.
    pub egress: Option<EgressVector>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn bits_are_read_as_they_are_written() {
        for bits in [AcsBits::ISOLATION, AcsBits(0x1fff), AcsBits::USP_REDIRECT, AcsBits::NONE] {
            assert_eq!(bits.to_string().parse(), Ok(bits));
        }
        assert_eq!("rr,UpstreamFwd+0x1".parse(), Ok(AcsBits(0x15)));
        assert_eq!("isolation".parse(), Ok(AcsBits::ISOLATION));
        for wrong in ["", "RR,", "XX", "0x2000", "0x+1", "29", "0x10000"] {
            assert!(wrong.parse::<AcsBits>().is_err(), "{wrong}");
        }
        assert!(
            "RR,what".parse::<AcsBits>().unwrap_err().to_string().starts_with("\"what\" names no ACS bits")
        );
    }

    #[test]
    fn a_capability_offers_enhanced_bits_all_or_none() {
        assert_eq!(AcsBits(0x7f).controllable(), AcsBits(0x7f));
        assert_eq!(AcsBits(0x81).controllable(), AcsBits(0x1f81));
        // Bits 15:8 of a capability register are the vector's size.
        assert_eq!(AcsBits(0xff01).controllable(), AcsBits(1));
        assert_eq!(AcsBits(0x0200).downstream_memory(), PortMemory::Redirected);
        assert_eq!(AcsBits(0x0c00).upstream_memory(), PortMemory::Reserved);
        assert_eq!(AcsBits(0x0400).downstream_memory(), PortMemory::Direct);
    }

    #[test]
    fn a_vector_lets_through_what_it_has_no_bit_for() {
        let mut vector = EgressVector { bits: 34, words: [u32::MAX; 8] };
        assert!(vector.stops(33) && !vector.stops(34) && !vector.stops(255) && vector.stops_all());
        vector.words[1] = 1;
        assert!(vector.stops(32) && !vector.stops(33) && !vector.stops_all());
        assert!(EgressVector { bits: 256, words: [u32::MAX; 8] }.stops(255));
    }
}
