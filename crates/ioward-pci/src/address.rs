//! Names of functions and of buses.

use core::{fmt, str::FromStr};

/// A function's place: segment, bus, and device and function in one byte.
///
/// The segment is 32 bits wide because Linux numbers the root buses behind an Intel VMD controller from 0x10000 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bdf {
    /// The segment (Linux: domain).
    pub segment: u32,
    /// The bus.
    pub bus: u8,
    /// Device (bits 7:3) and function (bits 2:0); behind an ARI port all eight bits are the function.
    pub devfn: u8,
}

impl Bdf {
    /// The function of a device; both are cut to their width (5 and 3 bits).
    pub const fn new(segment: u32, bus: u8, device: u8, function: u8) -> Self {
        Self { segment, bus, devfn: (device & 0x1f) << 3 | (function & 7) }
    }

    /// The device number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.devfn >> 3
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.devfn & 7
    }

    /// The bus it is on.
    pub const fn on(self) -> BusId {
        BusId { segment: self.segment, number: self.bus }
    }

    /// The requester ID: bus in bits 15:8, device and function below (PCI Express Base 6.0, section 2.2.6.2).
    pub const fn requester(self) -> u16 {
        (self.bus as u16) << 8 | self.devfn as u16
    }

    /// The function that a requester ID of the same segment names.
    pub const fn of_requester(segment: u32, requester: u16) -> Self {
        Self { segment, bus: (requester >> 8) as u8, devfn: requester as u8 }
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{}", self.segment, self.bus, self.device(), self.function())
    }
}

impl fmt::Debug for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not `[segment:]bus:device.function` in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotABdf;

impl fmt::Display for NotABdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not of the form [segment:]bus:device.function")
    }
}
impl core::error::Error for NotABdf {}

fn hex(text: &str, digits: core::ops::RangeInclusive<usize>) -> Option<u32> {
    let plain = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

impl FromStr for Bdf {
    type Err = NotABdf;

    /// Reads `00:1f.3`, `0000:00:1f.3` and `10000:e1:00.0`.
    fn from_str(text: &str) -> Result<Self, NotABdf> {
        let parse = || {
            let (rest, function) = text.rsplit_once('.')?;
            let (rest, device) = rest.rsplit_once(':')?;
            let (segment, bus) = rest.rsplit_once(':').unwrap_or(("0000", rest));
            let device = hex(device, 2..=2).filter(|&device| device < 32)?;
            let function = hex(function, 1..=1).filter(|&function| function < 8)?;
            Some(Self::new(hex(segment, 4..=8)?, hex(bus, 2..=2)? as u8, device as u8, function as u8))
        };
        parse().ok_or(NotABdf)
    }
}

/// A bus of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusId {
    /// The segment.
    pub segment: u32,
    /// The number.
    pub number: u8,
}

impl BusId {
    /// A function on it.
    pub const fn function(self, devfn: u8) -> Bdf {
        Bdf { segment: self.segment, bus: self.number, devfn }
    }
}

impl fmt::Display for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}", self.segment, self.number)
    }
}

impl fmt::Debug for BusId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in ["0000:00:1f.3", "10000:e1:00.0", "ffff:ff:1f.7"] {
            assert_eq!(text.parse::<Bdf>().unwrap().to_string(), text);
        }
        assert_eq!("03:00.1".parse(), Ok(Bdf::new(0, 3, 0, 1)));
        assert_eq!(Bdf::new(0, 3, 2, 1).requester(), 0x0311);
        assert_eq!(Bdf::of_requester(0, 0x0311), Bdf::new(0, 3, 2, 1));
    }

    #[test]
    fn other_text_is_refused() {
        for text in
            ["", ":", ".", "00:00", "00:20.0", "00:1f.8", "0:00.0", "00:+1.0", "000:00:00.0", "é0:00.0"]
        {
            assert_eq!(text.parse::<Bdf>(), Err(NotABdf), "{text}");
        }
    }
}
