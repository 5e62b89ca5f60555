//! What an SMMU of the model can do: the choices that its identification registers tell.

use ioward_spec::smmuv3::registers::{aidr, idr0, idr1, idr3, idr5, iidr};

/// What to build. [`Features::default`] is a large SMMUv3.2: both stages, every granule, 48 bits, ATS, PRI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// Stage 1 (IDR0.S1P).
    pub stage1: bool,
    /// Stage 2 (IDR0.S2P).
    pub stage2: bool,
    /// Streams of NS-EL2 (IDR0.Hyp).
    pub hyp: bool,
    /// Physical addresses in bits (IDR5.OAS): 32, 36, 40, 42, 44, 48 or 52.
    pub out_bits: u8,
    /// Virtual addresses of 52 bits with the 64KB granule (IDR5.VAX).
    pub wide_virtual: bool,
    /// Granules in bytes, as a set of powers of two: bits 12, 14 and 16 (IDR5.GRAN*).
    pub granules: u64,
    /// Bits of a StreamID (IDR1.SIDSIZE).
    pub sid_bits: u8,
    /// Bits of a SubstreamID; zero for none (IDR1.SSIDSIZE).
    pub ssid_bits: u8,
    /// Two-level Stream tables (IDR0.ST_LEVEL).
    pub two_level_streams: bool,
    /// Two-level CD tables (IDR0.CD2L).
    pub two_level_cds: bool,
    /// ATS (IDR0.ATS).
    pub ats: bool,
    /// Split-stage ATS too (IDR0.NS1ATS is its negation).
    pub split_ats: bool,
    /// PRI (IDR0.PRI).
    pub pri: bool,
    /// Hardware updates: 0 none, 1 Access flag, 2 and dirty state (IDR0.HTTU).
    pub httu: u8,
    /// Accesses to tables, structures and queues can snoop (IDR0.COHACC).
    pub coherent: bool,
    /// Range invalidation and level hints (IDR3.RIL).
    pub range_invalidation: bool,
    /// How little must break before it is made: 0, 1 or 2 (IDR3.BBML).
    pub break_before_make: u8,
    /// Small tables: TxSZ up to 48 (IDR3.STT).
    pub small_tables: bool,
    /// ASIDs of 16 bits (IDR0.ASID16).
    pub asid16: bool,
    /// VMIDs of 16 bits (IDR0.VMID16).
    pub vmid16: bool,
    /// MSIs (IDR0.MSI).
    pub msi: bool,
    /// WFE wake-up events (IDR0.SEV).
    pub sev: bool,
    /// log2 of the most entries of the Command queue (IDR1.CMDQS).
    pub cmdq_bits: u8,
    /// log2 of the most entries of the Event queue (IDR1.EVENTQS).
    pub eventq_bits: u8,
    /// log2 of the most entries of the PRI queue (IDR1.PRIQS).
    pub priq_bits: u8,
    /// The x of SMMUv3.x (AIDR).
    pub version: u8,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            stage1: true,
            stage2: true,
            hyp: false,
            out_bits: 48,
            wide_virtual: false,
            granules: 1 << 12 | 1 << 14 | 1 << 16,
            sid_bits: 16,
            ssid_bits: 10,
            two_level_streams: true,
            two_level_cds: true,
            ats: true,
            split_ats: false,
            pri: true,
            httu: 2,
            coherent: true,
            range_invalidation: true,
            break_before_make: 2,
            small_tables: false,
            asid16: true,
            vmid16: true,
            msi: true,
            sev: true,
            cmdq_bits: 8,
            eventq_bits: 7,
            priq_bits: 7,
            version: 2,
        }
    }
}

impl Features {
    /// As small as the architecture lets one be: SMMUv3.0, stage 1 alone, linear tables, 8-bit ASIDs, no substreams, no
    /// ATS, no MSI, walks that do not snoop.
    pub fn small() -> Self {
        Self {
            stage2: false,
            out_bits: 40,
            granules: 1 << 12,
            sid_bits: 8,
            ssid_bits: 0,
            two_level_streams: false,
            two_level_cds: false,
            ats: false,
            pri: false,
            httu: 0,
            coherent: false,
            range_invalidation: false,
            break_before_make: 0,
            asid16: false,
            vmid16: false,
            msi: false,
            sev: false,
            cmdq_bits: 5,
            eventq_bits: 5,
            priq_bits: 0,
            version: 0,
            ..Self::default()
        }
    }

    /// IDR0.
    pub(super) fn idr0(&self) -> u32 {
        let word = idr0::S1P.put(self.stage1.into())
            | idr0::S2P.put(self.stage2.into())
            | idr0::TTF.put(idr0::ttf::AARCH64)
            | idr0::COHACC.put(self.coherent.into())
            | idr0::HTTU.put(self.httu.into())
            | idr0::HYP.put(self.hyp.into())
            | idr0::ATS.put(self.ats.into())
            | idr0::NS1ATS.put((!self.split_ats).into())
            | idr0::ASID16.put(self.asid16.into())
            | idr0::MSI.put(self.msi.into())
            | idr0::SEV.put(self.sev.into())
            | idr0::PRI.put(self.pri.into())
            | idr0::VMID16.put(self.vmid16.into())
            | idr0::CD2L.put(self.two_level_cds.into())
            | idr0::TTENDIAN.put(idr0::ttendian::LITTLE)
            | idr0::STALL_MODEL.put(idr0::stall_model::TERMINATE)
            | idr0::TERM_MODEL.put(1)
            | idr0::ST_LEVEL.put(self.two_level_streams.into());
        word as u32
    }

    /// IDR1.
    pub(super) fn idr1(&self) -> u32 {
        let word = idr1::SIDSIZE.put(self.sid_bits.into())
            | idr1::SSIDSIZE.put(self.ssid_bits.into())
            | idr1::PRIQS.put(self.priq_bits.into())
            | idr1::EVENTQS.put(self.eventq_bits.into())
            | idr1::CMDQS.put(self.cmdq_bits.into())
            | idr1::ATTR_PERMS_OVR.put(1)
            | idr1::ATTR_TYPES_OVR.put(1);
        word as u32
    }

    /// IDR3.
    pub(super) fn idr3(&self) -> u32 {
        let word = idr3::HAD.put((self.version >= 1).into())
            | idr3::STT.put(self.small_tables.into())
            | idr3::RIL.put(self.range_invalidation.into())
            | idr3::BBML.put(self.break_before_make.into());
        word as u32
    }

    /// IDR5.
    pub(super) fn idr5(&self) -> u32 {
        let oas = idr5::oas::BITS.iter().position(|&bits| bits == self.out_bits).unwrap_or(0) as u64;
        let word = idr5::OAS.put(oas)
            | idr5::GRAN4K.put(self.granules >> 12 & 1)
            | idr5::GRAN16K.put(self.granules >> 14 & 1)
            | idr5::GRAN64K.put(self.granules >> 16 & 1)
            | idr5::VAX.put(self.wide_virtual.into());
        word as u32
    }

    /// IIDR: Arm's JEP106 code, product 0.
    pub(super) fn iidr(&self) -> u32 {
        iidr::IMPLEMENTER.put(0x43b) as u32
    }

    /// AIDR.
    pub(super) fn aidr(&self) -> u32 {
        aidr::ARCH_MINOR_REV.put(self.version.into()) as u32
    }

    /// Whether a granule is implemented, given as log2 of its bytes.
    pub(super) fn has_granule(&self, bits: u8) -> bool {
        self.granules >> bits & 1 == 1
    }

    /// The largest TxSZ for a granule (5.2, 5.4).
    pub(super) fn max_txsz(&self, granule: u8) -> u64 {
        match (self.small_tables, granule) {
            (false, _) => 39,
            (true, 16) => 47,
            (true, _) => 48,
        }
    }
}
