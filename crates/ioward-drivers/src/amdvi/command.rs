//! Encoding of commands (48882 §2.4).

use super::invalidate::Block;
use ioward_spec::amdvi::commands::{
    self as spec, OPCODE, completion_wait, invalidate_device, invalidate_iotlb, invalidate_pages, size,
};
use ioward_types::{Pasid, PhysAddr};

/// One command, as hardware reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Command(pub [u64; 2]);

impl Command {
    /// Stores `data` at `to` when every earlier command has completed.
    pub fn completion_wait(to: PhysAddr, data: u64) -> Self {
        let mut words = opcode(spec::COMPLETION_WAIT);
        completion_wait::S.set(&mut words, 1);
        completion_wait::STORE_ADDRESS.set_in_place(&mut words, to.0);
        completion_wait::STORE_DATA.set(&mut words, data);
        Self(words)
    }

    /// The IOMMU forgets a source's device table entry.
    pub fn invalidate_devtab_entry(source: u16) -> Self {
        let mut words = opcode(spec::INVALIDATE_DEVTAB_ENTRY);
        invalidate_device::DEVICE_ID.set(&mut words, source.into());
        Self(words)
    }

    /// The IOMMU forgets a source's interrupt remapping entries.
    pub fn invalidate_interrupt_table(source: u16) -> Self {
        let mut words = opcode(spec::INVALIDATE_INTERRUPT_TABLE);
        invalidate_device::DEVICE_ID.set(&mut words, source.into());
        Self(words)
    }

    /// The IOMMU forgets translations of a domain: of one PASID's addresses, or of the domain's own and all built on
    /// them. `tables`: walk caches too.
    pub fn invalidate_iommu_pages(domain: u16, pasid: Option<Pasid>, block: Block, tables: bool) -> Self {
        let mut words = opcode(spec::INVALIDATE_IOMMU_PAGES);
        invalidate_pages::DOMAIN_ID.set(&mut words, domain.into());
        if let Some(pasid) = pasid {
            invalidate_pages::GN.set(&mut words, 1);
            invalidate_pages::PASID.set(&mut words, pasid.0.into());
        }
        invalidate_pages::PDE.set(&mut words, tables.into());
        let (sized, address) = sized(block);
        invalidate_pages::S.set(&mut words, sized);
        invalidate_pages::ADDRESS.set_in_place(&mut words, address);
        Self(words)
    }

    /// A device forgets translations: of one PASID, or of requests without one.
    ///
    /// One invalidation at a time is outstanding at the device (Maxpend 1): every device takes at least one, and how
    /// many more it takes is known to the bus and not here.
    pub fn invalidate_iotlb_pages(source: u16, pasid: Option<Pasid>, block: Block) -> Self {
        let mut words = opcode(spec::INVALIDATE_IOTLB_PAGES);
        invalidate_iotlb::DEVICE_ID.set(&mut words, source.into());
        invalidate_iotlb::QUEUE_ID.set(&mut words, source.into());
        invalidate_iotlb::MAX_PEND.set(&mut words, 1);
        if let Some(Pasid(pasid)) = pasid {
            let pasid = u64::from(pasid);
            invalidate_iotlb::GN.set(&mut words, 1);
            invalidate_iotlb::PASID_7_0.set(&mut words, pasid);
            invalidate_iotlb::PASID_15_8.set(&mut words, pasid >> 8);
            invalidate_iotlb::PASID_19_16.set(&mut words, pasid >> 16);
        }
        let (sized, address) = sized(block);
        invalidate_iotlb::S.set(&mut words, sized);
        invalidate_iotlb::ADDRESS.set_in_place(&mut words, address);
        Self(words)
    }

    /// The IOMMU forgets everything. Only with EFR.IASup.
    pub fn invalidate_iommu_all() -> Self {
        Self(opcode(spec::INVALIDATE_IOMMU_ALL))
    }
}

fn opcode(opcode: u64) -> [u64; 2] {
    [OPCODE.put(opcode), 0]
}

/// S and the address that says how much: the lowest zero bit from bit 12 up is half the size.
fn sized(block: Block) -> (u64, u64) {
    match block {
        Block::All => (1, size::EVERYTHING),
        Block::Of { at, log2: ..=12 } => (0, at),
        Block::Of { at, log2 } => {
            let half = 1u64 << (log2 - 1);
            (1, at & !(half << 1).wrapping_sub(1) | half.wrapping_sub(0x1000))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Literal words, by hand from Figures 36 to 43 of 48882.

    #[test]
    fn commands_as_the_specification_draws_them() {
        assert_eq!(Command::completion_wait(PhysAddr(0x1_2345_6788), 9).0, [0x1000_0001_2345_6789, 9]);
        assert_eq!(Command::invalidate_devtab_entry(0x1234).0, [0x2000_0000_0000_1234, 0]);
        assert_eq!(Command::invalidate_interrupt_table(0x18).0, [0x5000_0000_0000_0018, 0]);
        assert_eq!(Command::invalidate_iommu_all().0, [0x8000_0000_0000_0000, 0]);
    }

    #[test]
    fn pages_of_a_domain_and_of_a_pasid() {
        let page = Block::Of { at: 0xabcd_e000, log2: 12 };
        assert_eq!(
            Command::invalidate_iommu_pages(0x77, None, page, false).0,
            [0x3000_0077_0000_0000, 0xabcd_e000]
        );
        assert_eq!(
            Command::invalidate_iommu_pages(0x77, Some(Pasid(0xf_1234)), Block::All, true).0,
            [0x3000_0077_000f_1234, 0x7fff_ffff_ffff_f007]
        );
    }

    #[test]
    fn the_lowest_zero_bit_tells_the_size() {
        for (log2, low) in [(13, 0x0), (14, 0x1000), (15, 0x3000), (16, 0x7000), (21, 0xf_f000)] {
            let command =
                Command::invalidate_iommu_pages(1, None, Block::Of { at: 0x4000_0000, log2 }, false);
            assert_eq!(command.0[1], 0x4000_0000 | low | 1, "{log2}");
        }
    }

    #[test]
    fn a_devices_iotlb() {
        let block = Block::Of { at: 0x20_0000, log2: 14 };
        assert_eq!(
            Command::invalidate_iotlb_pages(0x0108, None, block).0,
            [0x4000_0108_0100_0108, 0x0020_1001]
        );
        assert_eq!(
            Command::invalidate_iotlb_pages(0x0108, Some(Pasid(0xa_bbcc)), Block::All).0,
            [0x4acc_0108_01bb_0108, 0x7fff_ffff_ffff_f005]
        );
    }
}
