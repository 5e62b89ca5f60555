//! What a unit can do: its capability registers.

use ioward_spec::{
    Field,
    vtd::capability::{cap, ecap},
};

/// What a model offers. [`VtdConfig::default`] is a unit of a recent server, in scalable mode or not as software likes.
///
/// Nothing is made consistent: a test may describe a unit that contradicts itself.
#[derive(Clone, Debug)]
pub struct VtdConfig {
    /// Names it in violations.
    pub name: String,
    /// Bits of domain IDs: 4, 6, 8, 10, 12, 14 or 16 (CAP.ND).
    pub domain_bits: u8,
    /// Stores wait in buffers until software flushes them (CAP.RWBF).
    pub write_buffer: bool,
    /// Protected memory regions, low and high (CAP.PLMR, CAP.PHMR).
    pub protected_memory: bool,
    /// What is not there is cached (CAP.CM).
    pub caching_mode: bool,
    /// Widths of second-stage tables, the bits of [`cap::sagaw`] (CAP.SAGAW).
    pub widths: u64,
    /// Bits of second-stage input addresses at most (CAP.MGAW).
    pub address_bits: u8,
    /// Large pages of second-stage tables, the bits of [`cap::sslps`] (CAP.SSLPS).
    pub large_pages: u64,
    /// Page-selective invalidation (CAP.PSI).
    pub page_selective: bool,
    /// Largest address mask (CAP.MAMV).
    pub address_mask: u8,
    /// Reads and writes can be drained (CAP.DRD, CAP.DWD).
    pub draining: bool,
    /// First-stage pages of 1 GiB (CAP.FS1GP).
    pub first_1g: bool,
    /// First-stage tables of 5 levels (CAP.FS5LP).
    pub first_5_levels: bool,
    /// Taking over a root pointer invalidates (CAP.ESRTPS).
    pub root_invalidates: bool,
    /// Taking over an interrupt table invalidates (CAP.ESIRTPS).
    pub interrupt_table_invalidates: bool,
    /// Fault records, 1 to 256 (CAP.NFR).
    pub fault_records: u16,
    /// Where fault records lie, in bytes from the block's start, a multiple of 16 (CAP.FRO).
    pub fault_offset: usize,
    /// Walks and structure reads snoop CPU caches (ECAP.C).
    pub coherent: bool,
    /// Queued invalidation (ECAP.QI).
    pub queued: bool,
    /// Device TLBs (ECAP.DT).
    pub device_tlb: bool,
    /// Interrupt remapping (ECAP.IR).
    pub interrupt_remapping: bool,
    /// x2APIC destinations (ECAP.EIM).
    pub x2apic: bool,
    /// Pass-through (ECAP.PT).
    pub pass_through: bool,
    /// Snoop control (ECAP.SC).
    pub snoop_control: bool,
    /// Where the IOTLB registers lie, in bytes from the block's start, a multiple of 16 (ECAP.IRO).
    pub iotlb_offset: usize,
    /// Largest index mask (ECAP.MHMV).
    pub index_mask: u8,
    /// Nested translation (ECAP.NEST).
    pub nested: bool,
    /// Page requests (ECAP.PRS).
    pub page_requests: bool,
    /// Execute requests (ECAP.ERS).
    pub execute: bool,
    /// Supervisor requests (ECAP.SRS).
    pub supervisor: bool,
    /// PASID bits, 1 to 20 (ECAP.PSS).
    pub pasid_bits: u8,
    /// Requests with PASID (ECAP.PASID).
    pub pasid: bool,
    /// Page request draining (ECAP.PDS).
    pub page_request_draining: bool,
    /// Scalable mode (ECAP.SMTS).
    pub scalable: bool,
    /// Accessed and dirty bits in second-stage tables (ECAP.SSADS).
    pub accessed_dirty: bool,
    /// Second stage in scalable mode (ECAP.SSTS).
    pub second_stage: bool,
    /// First stage in scalable mode (ECAP.FSTS).
    pub first_stage: bool,
    /// Walks in scalable mode can snoop (ECAP.SMPWCS).
    pub scalable_coherent: bool,
    /// RID_PASID (ECAP.RPS).
    pub rid_pasid: bool,
    /// Abort-DMA mode (ECAP.ADMS).
    pub abort_mode: bool,
    /// Host address width: bits of physical addresses.
    pub host_bits: u8,
    /// Bytes of the register block.
    pub bytes: usize,
    /// Invalidations take effect when a wait completes, and not at once.
    pub lazy: bool,
}

impl Default for VtdConfig {
    fn default() -> Self {
        Self {
            name: "VT-d".into(),
            domain_bits: 16,
            write_buffer: false,
            protected_memory: true,
            caching_mode: false,
            widths: cap::sagaw::BITS_48 | cap::sagaw::BITS_57,
            address_bits: 57,
            large_pages: cap::sslps::MIB_2 | cap::sslps::GIB_1,
            page_selective: true,
            address_mask: 18,
            draining: true,
            first_1g: true,
            first_5_levels: true,
            root_invalidates: false,
            interrupt_table_invalidates: false,
            fault_records: 8,
            fault_offset: 0x400,
            coherent: true,
            queued: true,
            device_tlb: true,
            interrupt_remapping: true,
            x2apic: true,
            pass_through: true,
            snoop_control: true,
            iotlb_offset: 0x500,
            index_mask: 15,
            nested: true,
            page_requests: true,
            execute: true,
            supervisor: true,
            pasid_bits: 20,
            pasid: true,
            page_request_draining: true,
            scalable: true,
            accessed_dirty: true,
            second_stage: true,
            first_stage: true,
            scalable_coherent: true,
            rid_pasid: true,
            abort_mode: true,
            host_bits: 46,
            bytes: 0x1000,
            lazy: true,
        }
    }
}

impl VtdConfig {
    /// A unit without scalable mode, of 39 and 48 bits.
    pub fn legacy() -> Self {
        Self {
            widths: cap::sagaw::BITS_39 | cap::sagaw::BITS_48,
            address_bits: 48,
            first_1g: false,
            first_5_levels: false,
            nested: false,
            page_requests: false,
            execute: false,
            supervisor: false,
            pasid: false,
            page_request_draining: false,
            scalable: false,
            accessed_dirty: false,
            second_stage: false,
            first_stage: false,
            scalable_coherent: false,
            rid_pasid: false,
            abort_mode: false,
            ..Self::default()
        }
    }

    /// The least that a unit can be: registers instead of a queue, write buffers, no snooping, 39 bits of 4 KiB pages,
    /// one fault record, 16 domains.
    pub fn minimal() -> Self {
        Self {
            domain_bits: 4,
            write_buffer: true,
            widths: cap::sagaw::BITS_39,
            address_bits: 39,
            large_pages: 0,
            page_selective: false,
            address_mask: 0,
            draining: false,
            fault_records: 1,
            coherent: false,
            queued: false,
            device_tlb: false,
            interrupt_remapping: false,
            x2apic: false,
            pass_through: false,
            snoop_control: false,
            index_mask: 0,
            ..Self::legacy()
        }
    }

    /// CAP (11.4.2).
    pub fn cap(&self) -> u64 {
        use cap::*;
        let flags = [
            (RWBF, self.write_buffer),
            (PLMR, self.protected_memory),
            (PHMR, self.protected_memory),
            (CM, self.caching_mode),
            (ZLR, true),
            (PSI, self.page_selective),
            (DWD, self.draining),
            (DRD, self.draining),
            (FS1GP, self.first_1g),
            (FS5LP, self.first_5_levels),
            (ESIRTPS, self.interrupt_table_invalidates),
            (ESRTPS, self.root_invalidates),
        ];
        flag_word(&flags)
            | ND.put(u64::from(self.domain_bits.saturating_sub(4)) / 2)
            | SAGAW.put(self.widths)
            | MGAW.put(u64::from(self.address_bits.saturating_sub(1)))
            | FRO.put(self.fault_offset as u64 / 16)
            | SSLPS.put(self.large_pages)
            | NFR.put(u64::from(self.fault_records.saturating_sub(1)))
            | MAMV.put(self.address_mask.into())
    }

    /// ECAP (11.4.3).
    pub fn ecap(&self) -> u64 {
        use ecap::*;
        let flags = [
            (C, self.coherent),
            (QI, self.queued),
            (DT, self.device_tlb),
            (IR, self.interrupt_remapping),
            (EIM, self.x2apic),
            (PT, self.pass_through),
            (SC, self.snoop_control),
            (NEST, self.nested),
            (PRS, self.page_requests),
            (ERS, self.execute),
            (SRS, self.supervisor),
            (PASID, self.pasid),
            (PDS, self.page_request_draining),
            (SMTS, self.scalable),
            (SSADS, self.accessed_dirty),
            (SSTS, self.second_stage),
            (FSTS, self.first_stage),
            (SMPWCS, self.scalable_coherent),
            (RPS, self.rid_pasid),
            (ADMS, self.abort_mode),
        ];
        let pasid_bits = if self.pasid { u64::from(self.pasid_bits.saturating_sub(1)) } else { 0 };
        flag_word(&flags)
            | IRO.put(self.iotlb_offset as u64 / 16)
            | MHMV.put(self.index_mask.into())
            | PSS.put(pasid_bits)
    }

    /// Address bits from the host address width on, of registers, context and PASID structures.
    pub(super) fn beyond_host(&self) -> u64 {
        u64::MAX.checked_shl(self.host_bits.into()).unwrap_or(0)
    }

    /// Address bits from the host address width to 51, of paging entries.
    pub(super) fn beyond_host_in_page(&self) -> u64 {
        self.beyond_host() & 0x000f_ffff_ffff_ffff
    }

    /// Whether second-stage tables may have so many levels.
    pub(super) fn has_levels(&self, levels: u8) -> bool {
        (3..=5).contains(&levels) && self.widths >> (levels - 2) & 1 != 0
    }
}

fn flag_word(flags: &[(Field, bool)]) -> u64 {
    flags.iter().fold(0, |word, (field, on)| field.with(word, (*on).into()))
}
