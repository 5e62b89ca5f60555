//! What caches are told to forget, as invalidation descriptors (6.5.2).

use super::capability::Manner;
use super::domain_id::Target;
use super::ranges::Block;
use ioward_spec::vtd::{
    descriptor::{
        self as spec, context_cache, device_tlb, interrupt_entry_cache, iotlb, kind, page_group_response,
        pasid_cache, pasid_device_tlb, pasid_iotlb, wait,
    },
    registers::granularity,
};
use ioward_types::{Pasid, PhysAddr, SourceId};

/// A descriptor as it stands in the queue; the upper half only where descriptors have 256 bits.
pub(super) type Descriptor = [u64; spec::WORDS];

/// How many invalidations a device is sent before it has answered one: every device takes one.
const PENDING: u64 = 1;
/// Bit 63 clear and every lower one set: all addresses (6.5.2.5).
const EVERYWHERE: u64 = 0x7fff_ffff_ffff_f000;

/// One thing to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    /// Every context entry.
    Contexts,
    /// One source's context entry, known by its domain ID too in legacy mode.
    Context { source: SourceId, domain: u16 },
    /// Every PASID table entry.
    Pasids,
    /// One PASID table entry.
    Pasid(Target),
    /// Every translation.
    Translations,
    /// Translations of a domain: all, or of some pages; `leaf`: nothing but leaves has changed.
    Domain { domain: u16, block: Block, leaf: bool },
    /// Translations that are found by domain and PASID: all, or of some pages.
    Behind { at: Target, block: Block, leaf: bool },
    /// What a device itself has cached.
    Device { source: SourceId, pasid: Option<Pasid>, block: Block },
    /// Every interrupt remapping entry.
    Interrupts,
    /// `1 << log2` interrupt remapping entries.
    Interrupt { first: u16, log2: u8 },
    /// The answer to page requests.
    Respond { source: SourceId, pasid: Option<Pasid>, group: u16, code: u64 },
}

impl Command {
    /// As a descriptor.
    pub fn encode(&self, manner: Manner) -> Descriptor {
        let mut words = [0; spec::WORDS];
        let code = match *self {
            Self::Contexts => {
                context_cache::G.set(&mut words, granularity::GLOBAL);
                kind::CONTEXT_CACHE
            }
            Self::Context { source, domain } => {
                context_cache::G.set(&mut words, granularity::DEVICE);
                context_cache::SID.set(&mut words, source.0.into());
                context_cache::DID.set(&mut words, domain.into());
                kind::CONTEXT_CACHE
            }
            Self::Pasids => {
                pasid_cache::G.set(&mut words, pasid_cache::granularity::GLOBAL);
                kind::PASID_CACHE
            }
            Self::Pasid(Target { domain, pasid }) => {
                pasid_cache::G.set(&mut words, pasid_cache::granularity::PASID);
                pasid_cache::DID.set(&mut words, domain.into());
                pasid_cache::PASID.set(&mut words, pasid.into());
                kind::PASID_CACHE
            }
            Self::Translations => {
                iotlb::G.set(&mut words, granularity::GLOBAL);
                drain(&mut words, manner);
                kind::IOTLB
            }
            Self::Domain { domain, block, leaf } => {
                iotlb::DID.set(&mut words, domain.into());
                drain(&mut words, manner);
                match block {
                    Block::All => iotlb::G.set(&mut words, granularity::DOMAIN),
                    Block::Of { at, log2 } => {
                        iotlb::G.set(&mut words, granularity::PAGE);
                        iotlb::ADDR.set_in_place(&mut words, at);
                        iotlb::AM.set(&mut words, u64::from(log2.saturating_sub(12)));
                        iotlb::IH.set(&mut words, leaf.into());
                    }
                }
                kind::IOTLB
            }
            Self::Behind { at: Target { domain, pasid }, block, leaf } => {
                pasid_iotlb::DID.set(&mut words, domain.into());
                pasid_iotlb::PASID.set(&mut words, pasid.into());
                match block {
                    Block::All => pasid_iotlb::G.set(&mut words, pasid_iotlb::granularity::PASID),
                    Block::Of { at, log2 } => {
                        pasid_iotlb::G.set(&mut words, pasid_iotlb::granularity::PAGE);
                        pasid_iotlb::ADDR.set_in_place(&mut words, at);
                        pasid_iotlb::AM.set(&mut words, u64::from(log2.saturating_sub(12)));
                        pasid_iotlb::IH.set(&mut words, leaf.into());
                    }
                }
                kind::PASID_IOTLB
            }
            Self::Device { source, pasid, block } => {
                let (address, large) = device_range(block);
                // Whose function a virtual one is, is not known here; its own ID only makes throttling coarser.
                let function = if manner.throttle { u64::from(source.0) } else { 0 };
                match pasid {
                    None => {
                        device_tlb::SID.set(&mut words, source.0.into());
                        device_tlb::MAX_INVS_PEND.set(&mut words, PENDING);
                        device_tlb::PFSID_3_0.set(&mut words, function);
                        device_tlb::PFSID_15_4.set(&mut words, function >> 4);
                        device_tlb::S.set(&mut words, large.into());
                        device_tlb::ADDR.set_in_place(&mut words, address);
                        kind::DEVICE_TLB
                    }
                    Some(pasid) => {
                        pasid_device_tlb::SID.set(&mut words, source.0.into());
                        pasid_device_tlb::PASID.set(&mut words, pasid.0.into());
                        pasid_device_tlb::MAX_INVS_PEND.set(&mut words, PENDING);
                        pasid_device_tlb::PFSID_3_0.set(&mut words, function);
                        pasid_device_tlb::PFSID_15_4.set(&mut words, function >> 4);
                        pasid_device_tlb::S.set(&mut words, large.into());
                        pasid_device_tlb::ADDR.set_in_place(&mut words, address);
                        kind::PASID_DEVICE_TLB
                    }
                }
            }
            Self::Interrupts => kind::INTERRUPT_ENTRY_CACHE,
            Self::Interrupt { first, log2 } => {
                interrupt_entry_cache::G.set(&mut words, 1);
                interrupt_entry_cache::IIDX.set(&mut words, first.into());
                interrupt_entry_cache::IM.set(&mut words, log2.into());
                kind::INTERRUPT_ENTRY_CACHE
            }
            Self::Respond { source, pasid, group, code } => {
                page_group_response::RID.set(&mut words, source.0.into());
                page_group_response::PRGI.set(&mut words, group.into());
                page_group_response::LPIG.set(&mut words, 1);
                page_group_response::RC.set(&mut words, code);
                if let Some(pasid) = pasid {
                    page_group_response::PP.set(&mut words, 1);
                    page_group_response::PASID.set(&mut words, pasid.0.into());
                }
                kind::PAGE_GROUP_RESPONSE
            }
        };
        spec::TYPE.set(&mut words, code);
        words
    }
}

/// Requests that were let through by what is forgotten have reached memory when the invalidation is done (6.5.4).
fn drain(words: &mut Descriptor, manner: Manner) {
    iotlb::DW.set(words, manner.drain_writes.into());
    iotlb::DR.set(words, manner.drain_reads.into());
}

/// Address and S of a device-TLB invalidation.
fn device_range(block: Block) -> (u64, bool) {
    match block {
        Block::All => (EVERYWHERE, true),
        Block::Of { at, log2: ..=12 } => (at, false),
        // All bits below the highest that the range does not fix are set, and that one is clear.
        Block::Of { at, log2 } => (at | ((1 << (log2 - 1)) - 1), true),
    }
}

/// A wait: `value` is stored to `to` when everything before it is done, and nothing after it starts before.
pub(super) fn wait_for_all(to: PhysAddr, value: u32) -> Descriptor {
    let mut words = [0; spec::WORDS];
    spec::TYPE.set(&mut words, kind::WAIT);
    wait::SW.set(&mut words, 1);
    wait::FN.set(&mut words, 1);
    wait::STATUS_DATA.set(&mut words, value.into());
    wait::STATUS_ADDR.set_in_place(&mut words, to.0);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANNER: Manner = Manner { drain_reads: true, drain_writes: true, throttle: false };
    const NIC: SourceId = SourceId(0x1234);

    fn encode(command: Command) -> [u64; 2] {
        let words = command.encode(MANNER);
        assert_eq!(words[2..], [0, 0]);
        [words[0], words[1]]
    }

    #[test]
    fn descriptors_as_linux_writes_them() {
        // QI_CC_TYPE 1, QI_CC_GRAN 4, QI_CC_DID 16, QI_CC_SID 32.
        assert_eq!(encode(Command::Contexts), [0x11, 0]);
        assert_eq!(encode(Command::Context { source: NIC, domain: 7 }), [0x1234_0007_0031, 0]);
        // QI_IOTLB_TYPE 2, DW 6, DR 7, DID 16, AM, IH 6.
        assert_eq!(encode(Command::Translations), [0xd2, 0]);
        let domain = Command::Domain { domain: 7, block: Block::All, leaf: true };
        assert_eq!(encode(domain), [0x0007_00e2, 0]);
        let block = Block::Of { at: 0x4_0000, log2: 14 };
        let pages = Command::Domain { domain: 7, block, leaf: true };
        assert_eq!(encode(pages), [0x0007_00f2, 0x4_0042]);
        // QI_EIOTLB_TYPE 6, QI_PC_TYPE 7.
        let at = Target { domain: 7, pasid: 0x54321 };
        assert_eq!(encode(Command::Pasid(at)), [0x5_4321_0007_0017, 0]);
        assert_eq!(encode(Command::Pasids), [0x37, 0]);
        assert_eq!(encode(Command::Behind { at, block: Block::All, leaf: false }), [0x5_4321_0007_0026, 0]);
        assert_eq!(encode(Command::Behind { at, block, leaf: false }), [0x5_4321_0007_0036, 0x4_0002]);
        // QI_IEC_TYPE 4, SELECTIVE bit 4, IM 27, IIDX 32.
        assert_eq!(encode(Command::Interrupts), [4, 0]);
        assert_eq!(encode(Command::Interrupt { first: 0x20, log2: 3 }), [0x20_1800_0014, 0]);
        assert_eq!(wait_for_all(PhysAddr(0x5000), 9), [0x9_0000_0065, 0x5000, 0, 0]);
    }

    #[test]
    fn device_tlbs_are_told_ranges_in_the_form_of_pcie() {
        let of = |pasid, block| encode(Command::Device { source: NIC, pasid, block });
        assert_eq!(of(None, Block::All), [0x1234_0001_0003, 0x7fff_ffff_ffff_f001]);
        assert_eq!(of(None, Block::Of { at: 0x9000, log2: 12 }), [0x1234_0001_0003, 0x9000]);
        // 8 KiB: bit 12 clear. 2 MiB: bits 19:12 set, bit 20 clear.
        assert_eq!(of(None, Block::Of { at: 0x8000, log2: 13 })[1], 0x8001);
        assert_eq!(of(None, Block::Of { at: 0x4000_0000, log2: 21 })[1], 0x400f_f001);
        let behind = of(Some(Pasid(5)), Block::Of { at: 0x4000_0000, log2: 21 });
        assert_eq!(behind, [0x5_1234_0018, 0x400f_f800]);
        let throttled = Command::Device { source: NIC, pasid: None, block: Block::All };
        let words = throttled.encode(Manner { throttle: true, ..MANNER });
        assert_eq!(words[0], 0x1230_1234_0001_4003);
    }
}
