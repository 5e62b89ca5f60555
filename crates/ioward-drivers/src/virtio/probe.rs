//! Properties of an endpoint (virtio 1.3 §5.13.6.7): bytes of the device's, checked.

use alloc::vec::Vec;
use ioward_spec::virtio::probe::{self, resv_mem};
use ioward_types::{Iova, Span};

/// IOVAs that cannot be mapped for an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReservedRegion {
    /// Which.
    pub span: Span<Iova>,
    /// Message-signalled interrupts are written here, and are not translated.
    pub doorbell: bool,
}

/// The reserved regions in a list of `size` bytes. `Err`: a property reaches beyond the list, or a region ends before it
/// starts, so that nothing is known of what is reserved.
pub(super) fn regions(size: usize, byte: impl Fn(usize) -> u8) -> Result<Vec<ReservedRegion>, &'static str> {
    let word =
        |at: usize, bytes: usize| (0..bytes).rev().fold(0, |word, n| word << 8 | u64::from(byte(at + n)));
    let mut found = Vec::new();
    let mut at = 0;
    while at + probe::HEAD_BYTES <= size {
        let head = word(at, probe::HEAD_BYTES);
        let kind = probe::TYPE.of(head) as u16;
        if kind == probe::T_NONE && probe::RESERVED.of(head) == 0 {
            break;
        }
        let length = probe::LENGTH.of(head) as usize;
        if at + probe::HEAD_BYTES + length > size {
            return Err("a property reaches beyond the list");
        }
        // What is not understood is passed over, and so is what has reserved bits set.
        if kind == probe::T_RESV_MEM && probe::RESERVED.of(head) == 0 {
            if length < resv_mem::LENGTH {
                return Err("RESV_MEM is too short");
            }
            let words = [0, 1, 2].map(|n| word(at + n * 8, 8));
            let (start, end) = (Iova(resv_mem::START.get(&words)), Iova(resv_mem::END.get(&words)));
            if end < start {
                return Err("RESV_MEM ends before it starts");
            }
            // All 2^64 bytes are no span; the last one alone cannot be mapped then either.
            let end = if (start, end) == (Iova(0), Iova(u64::MAX)) { Iova(u64::MAX - 1) } else { end };
            let span = Span::inclusive(start, end).ok_or("RESV_MEM")?;
            found.push(ReservedRegion {
                span,
                doorbell: resv_mem::SUBTYPE.get(&words) as u8 == resv_mem::MSI,
            });
        }
        at += probe::HEAD_BYTES + length;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(parts: &[&[u8]]) -> Vec<u8> {
        let mut all = parts.concat();
        all.resize(128, 0);
        all
    }

    fn parse(bytes: &[u8]) -> Result<Vec<ReservedRegion>, &'static str> {
        regions(bytes.len(), |at| bytes[at])
    }

    // RESV_MEM of type MSI from 0xfee00000 to 0xfeefffff, as §5.13.6.8 lays it out.
    const MSI: [u8; 24] =
        [1, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0xff, 0xff, 0xef, 0xfe, 0, 0, 0, 0];

    #[test]
    fn regions_are_found_behind_what_is_not_understood() {
        let region =
            ReservedRegion { span: Span { start: Iova(0xfee0_0000), bytes: 0x10_0000 }, doorbell: true };
        assert_eq!(parse(&list(&[&MSI])), Ok(alloc::vec![region]));
        let mut unknown_subtype = MSI;
        unknown_subtype[4] = 9;
        let mut reserved_bits = MSI;
        reserved_bits[1] = 0x10;
        let odd = [7, 0, 3, 0, 0xaa, 0xbb, 0xcc];
        let all = parse(&list(&[&odd, &reserved_bits, &MSI, &unknown_subtype])).unwrap();
        assert_eq!(all, [region, ReservedRegion { doorbell: false, ..region }]);
        assert_eq!(parse(&[]), Ok(alloc::vec![]));
        assert_eq!(parse(&MSI), Ok(alloc::vec![region]), "it ends with the list");
    }

    #[test]
    fn what_does_not_fit_says_nothing_about_what_is_reserved() {
        assert!(parse(&MSI[..20]).is_err());
        let mut short = MSI;
        short[2] = 19;
        assert!(parse(&list(&[&short])).is_err());
        let mut backwards = MSI;
        backwards[23] = 0;
        (backwards[19], backwards[18]) = (0, 0);
        assert!(parse(&list(&[&backwards])).is_err());
        let mut all = MSI;
        all[8..16].fill(0);
        all[16..].fill(0xff);
        assert_eq!(parse(&all).unwrap()[0].span.bytes, u64::MAX);
    }
}
