//! ACS bits as people write them.

use ioward::pci::AcsBits;
use std::{fmt, str::FromStr};

/// The bits by the short names of the specification and by those of `lspci`.
const NAMES: [(&str, &str, AcsBits); 10] = [
    ("SV", "SrcValid", AcsBits::SV),
    ("TB", "TransBlk", AcsBits::TB),
    ("RR", "ReqRedir", AcsBits::RR),
    ("CR", "CmpltRedir", AcsBits::CR),
    ("UF", "UpstreamFwd", AcsBits::UF),
    ("EC", "EgressCtrl", AcsBits::EC),
    ("DT", "DirectTrans", AcsBits::DT),
    ("IB", "IoReqBlk", AcsBits::IB),
    ("UR", "UnclaimedRedir", AcsBits::UNCLAIMED),
    ("NONE", "None", AcsBits::NONE),
];

/// Every bit that a control register has.
const ALL: u16 = 0x1fff;

/// What is to become of the ACS control bits of a port: `SV+RR+CR+UF` or `0x1d` for exactly these, `+RR-TB` for one more and
/// one less.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// These are set.
    pub set: AcsBits,
    /// These are cleared.
    pub clear: AcsBits,
}

/// Text that names no bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotBits {
    /// There is no text, or nothing behind a sign.
    Empty,
    /// A word is no name of a bit.
    Name(String),
    /// A number is no hexadecimal one, or has bits that the register does not.
    Number(String),
    /// Bits without a sign before the first one are exactly those that are wanted, so none can be taken away from them.
    Mixed(String),
    /// A bit is to be set and cleared.
    Both(AcsBits),
}

impl fmt::Display for NotBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name of an ACS bit is missing"),
            Self::Name(word) => {
                write!(f, "{word:?} is no ACS bit; there are")?;
                NAMES.iter().try_for_each(|(short, ..)| write!(f, " {short}"))?;
                f.write_str(", and numbers like 0x1d")
            }
            Self::Number(text) => write!(f, "{text:?} is no hexadecimal number of ACS bits up to {ALL:#x}"),
            Self::Mixed(text) => write!(
                f,
                "{text:?} says both which bits are wanted and which are not; begin with + or - to change single bits"
            ),
            Self::Both(bits) => write!(f, "{bits} is to be both set and cleared"),
        }
    }
}
impl std::error::Error for NotBits {}

impl FromStr for Wanted {
    type Err = NotBits;

    fn from_str(text: &str) -> Result<Self, NotBits> {
        let exactly = |bits: u16| Self { set: AcsBits(bits), clear: AcsBits(ALL & !bits) };
        if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let bits = u16::from_str_radix(digits, 16).ok().filter(|bits| is_hex && bits & !ALL == 0);
            return bits.map(exactly).ok_or_else(|| NotBits::Number(text.to_owned()));
        }
        let single = text.starts_with(['+', '-']);
        if !single && text.contains('-') {
            return Err(NotBits::Mixed(text.to_owned()));
        }
        let (mut set, mut clear) = (0, 0);
        let mut rest = text;
        let mut sign = '+';
        if single {
            (sign, rest) = (if rest.starts_with('-') { '-' } else { '+' }, &rest[1..]);
        }
        loop {
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            let bits = named(&rest[..end])?.0;
            if sign == '+' {
                set |= bits;
            } else {
                clear |= bits;
            }
            if end == rest.len() {
                break;
            }
            sign = if rest[end..].starts_with('-') { '-' } else { '+' };
            rest = &rest[end + 1..];
        }
        if set & clear != 0 {
            return Err(NotBits::Both(AcsBits(set & clear)));
        }
        Ok(if single { Self { set: AcsBits(set), clear: AcsBits(clear) } } else { exactly(set) })
    }
}

fn named(word: &str) -> Result<AcsBits, NotBits> {
    if word.is_empty() {
        return Err(NotBits::Empty);
    }
    let is = |name: &str| name.eq_ignore_ascii_case(word);
    let found = NAMES.iter().find(|(short, long, _)| is(short) || is(long));
    found.map(|(.., bits)| *bits).ok_or_else(|| NotBits::Name(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_exact_or_single() {
        let wanted = |text: &str| text.parse::<Wanted>().map(|bits| (bits.set.0, bits.clear.0));
        assert_eq!(wanted("SV+RR+CR+UF"), Ok((0x1d, 0x1fe2)));
        assert_eq!(wanted("0x1d"), Ok((0x1d, 0x1fe2)));
        assert_eq!(wanted("srcvalid"), Ok((1, 0x1ffe)));
        assert_eq!(wanted("none"), Ok((0, 0x1fff)));
        assert_eq!(wanted("+RR"), Ok((4, 0)));
        assert_eq!(wanted("-RR"), Ok((0, 4)));
        assert_eq!(wanted("+RR+cr-TB"), Ok((0xc, 2)));
    }

    #[test]
    fn what_names_no_bits_is_told() {
        let error = |text: &str| text.parse::<Wanted>().unwrap_err();
        assert_eq!(error(""), NotBits::Empty);
        assert_eq!(error("+"), NotBits::Empty);
        assert_eq!(error("RR+"), NotBits::Empty);
        assert_eq!(error("RR-TB"), NotBits::Mixed("RR-TB".into()));
        assert_eq!(error("+RR-RR"), NotBits::Both(AcsBits::RR));
        assert_eq!(error("0x"), NotBits::Number("0x".into()));
        assert_eq!(error("0x2000"), NotBits::Number("0x2000".into()));
        assert_eq!(error("0x+1"), NotBits::Number("0x+1".into()));
        let told = error("XY+RR").to_string();
        assert!(told.contains("\"XY\"") && told.contains(" SV TB RR CR UF EC DT"), "{told}");
    }
}
