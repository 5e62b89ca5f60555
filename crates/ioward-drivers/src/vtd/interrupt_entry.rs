//! Interrupt remapping table entries and the messages that name them (9.10, 5.1.2), encoded.

use super::memory::Pair;
use ioward_core::driver::{ApicTarget, Delivery, InterruptFrom, InterruptMessage};
use ioward_spec::vtd::interrupts::{RANGE, address, data, delivery, irte};

/// An entry that delivers messages of `from` to a processor. `wide`: destinations have 32 bits (IRTA.EIME).
pub(super) fn remapped(from: &InterruptFrom, to: &ApicTarget, wide: bool) -> Pair {
    let mut words = [irte::P.put(1), 0];
    irte::DM.set(&mut words, to.logical.into());
    irte::RH.set(&mut words, (to.delivery == Delivery::LowestPriority).into());
    irte::TM.set(&mut words, to.level.into());
    irte::DLM.set(&mut words, delivery_mode(to.delivery));
    irte::V.set(&mut words, to.vector.into());
    let destination = if wide { irte::DST } else { irte::DST_XAPIC };
    destination.set(&mut words, to.destination.into());
    match *from {
        InterruptFrom::Buses { first, last, .. } => {
            irte::SVT.set(&mut words, irte::svt::BUS);
            irte::SID.set(&mut words, u64::from(first) << 8 | u64::from(last));
        }
        _ => {
            irte::SVT.set(&mut words, irte::svt::SID_SQ);
            irte::SQ.set(&mut words, irte::sq::ALL);
            irte::SID.set(&mut words, from.source().0.into());
        }
    }
    words
}

fn delivery_mode(mode: Delivery) -> u64 {
    match mode {
        Delivery::Fixed => delivery::FIXED,
        Delivery::LowestPriority => delivery::LOWEST,
        Delivery::Smi => delivery::SMI,
        Delivery::Nmi => delivery::NMI,
        Delivery::Init => delivery::INIT,
        Delivery::ExtInt => delivery::EXT_INT,
    }
}

/// Bits of a redirection entry in remappable format (5.1.5.1): vector, bit 15 of the index, trigger mode, format, bits
/// 14:0 of the index.
const REDIRECTION_INDEX_15: u32 = 11;
const REDIRECTION_LEVEL: u32 = 15;
const REDIRECTION_FORMAT: u32 = 48;
const REDIRECTION_INDEX_14_0: u32 = 49;

/// What whoever raises entry `nth` of `count` from `first` on is programmed with. Entries that belong together are named
/// by the first of them and a sub-handle, so that a device with several messages of one MSI can count them in its data.
pub(super) fn message(first: u16, nth: u16, count: u16, to: &ApicTarget) -> InterruptMessage {
    let several = count > 1;
    let (handle, subhandle) = if several { (first, nth) } else { (first, 0) };
    let mut word = [address::FORMAT.put(1) | RANGE.start() & address::HEAD.mask()];
    address::SHV.set(&mut word, several.into());
    address::HANDLE_14_0.set(&mut word, handle.into());
    address::HANDLE_15.set(&mut word, u64::from(handle) >> 15);
    let index = u64::from(first.wrapping_add(nth));
    InterruptMessage {
        address: word[0],
        data: data::SUBHANDLE.put(subhandle.into()) as u32,
        redirection: u64::from(to.vector)
            | (index >> 15) << REDIRECTION_INDEX_15
            | u64::from(to.level) << REDIRECTION_LEVEL
            | 1 << REDIRECTION_FORMAT
            | (index & 0x7fff) << REDIRECTION_INDEX_14_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioward_types::SourceId;

    const TO: ApicTarget = ApicTarget {
        vector: 0x31,
        destination: 0x21,
        logical: false,
        delivery: Delivery::Fixed,
        level: false,
    };

    #[test]
    fn entries_as_linux_writes_them() {
        let nic = InterruptFrom::Source(SourceId(0x18));
        assert_eq!(remapped(&nic, &TO, true), [0x21_0031_0001, 0x4_0018]);
        assert_eq!(remapped(&nic, &TO, false), [0x2100_0031_0001, 0x4_0018]);
        let buses = InterruptFrom::Buses { source: SourceId(0x500), first: 5, last: 7 };
        let lowest = ApicTarget { delivery: Delivery::LowestPriority, logical: true, level: true, ..TO };
        assert_eq!(remapped(&buses, &lowest, true), [0x21_0031_003d, 0x8_0507]);
    }

    #[test]
    fn messages_as_linux_writes_them() {
        let one = message(0x8005, 0, 1, &TO);
        assert_eq!((one.address, one.data), (0xfee0_00b4, 0));
        assert_eq!(one.redirection, 0x000b_0000_0000_0831);
        let third = message(0x20, 2, 4, &ApicTarget { level: true, ..TO });
        assert_eq!((third.address, third.data), (0xfee0_0418, 2));
        assert_eq!(third.redirection, 0x0045_0000_0000_8031);
    }
}
