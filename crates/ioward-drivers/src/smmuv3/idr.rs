//! What the ID registers say (IHI 0070, 6.3.1 to 6.3.8), checked.

use super::{BringUpError, Config};
use ioward_spec::smmuv3::registers::{self as spec, idr0, idr1, idr3, idr5};
use ioward_types::{Mmio, PhysAddr};

/// What one SMMU can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Features {
    pub stage_1: bool,
    pub stage_2: bool,
    /// Walks, queues and structures are coherent, firmware's word counting most.
    pub coherent: bool,
    /// Hardware sets dirty state.
    pub dirty: bool,
    /// NS-EL2 exists, and so do its TLB entries.
    pub el2: bool,
    /// ATS is implemented, so that the SMMU must be told to check translated requests.
    pub ats: bool,
    pub pri: bool,
    pub msi: bool,
    pub asid_bits: u8,
    pub vmid_bits: u8,
    pub two_level_cd: bool,
    pub two_level_stream: bool,
    /// Faults always stall, so entries must ask for it.
    pub stall_forced: bool,
    /// Bits of a StreamID.
    pub sid_bits: u8,
    /// Bits of a SubstreamID.
    pub ssid_bits: u8,
    /// log2 of the largest queues.
    pub cmdq_bits: u8,
    pub eventq_bits: u8,
    pub priq_bits: u8,
    /// TLB invalidation by range.
    pub range_invalidation: bool,
    /// Output address bits of a table with 4 or 16 KiB granules, or 52 with 64 KiB.
    pub oas_bits: u8,
    /// Granules: a set of powers of two.
    pub granules: u64,
    /// Input addresses of stage 1 may have 52 bits with the 64 KiB granule.
    pub vax_52: bool,
}

fn bits(word: u32, field: ioward_spec::Field) -> u64 {
    field.of(word.into())
}

fn flag(word: u32, field: ioward_spec::Field) -> bool {
    bits(word, field) != 0
}

impl Features {
    /// Reads and checks every ID register.
    pub fn read(registers: &impl Mmio, config: &Config) -> Result<Self, BringUpError> {
        let [id0, id1, id3, id5] =
            [spec::IDR0, spec::IDR1, spec::IDR3, spec::IDR5].map(|at| registers.read32(at));
        if [id0, id1, id3, id5] == [u32::MAX; 4] {
            return Err(BringUpError::Absent);
        }
        let contradiction =
            |register, value, what| Err(BringUpError::Contradiction { register, value, what });
        let unsupported = |register, value, what| Err(BringUpError::Unsupported { register, value, what });

        let major = spec::aidr::ARCH_MAJOR_REV.of(registers.read32(spec::AIDR).into());
        if major != 0 {
            return unsupported("AIDR", registers.read32(spec::AIDR), "an architecture other than SMMUv3");
        }
        let (stage_1, stage_2) = (flag(id0, idr0::S1P), flag(id0, idr0::S2P));
        if !stage_1 && !stage_2 {
            return contradiction("IDR0", id0, "neither stage is implemented");
        }
        match bits(id0, idr0::TTF) {
            idr0::ttf::AARCH64 | idr0::ttf::BOTH => {}
            idr0::ttf::AARCH32 => return unsupported("IDR0", id0, "VMSAv8-32 tables only"),
            _ => return contradiction("IDR0", id0, "TTF is Reserved"),
        }
        match bits(id0, idr0::TTENDIAN) {
            idr0::ttendian::MIXED | idr0::ttendian::LITTLE => {}
            idr0::ttendian::BIG => return unsupported("IDR0", id0, "big-endian tables only"),
            _ => return contradiction("IDR0", id0, "TTENDIAN is Reserved"),
        }
        let stall_forced = match bits(id0, idr0::STALL_MODEL) {
            idr0::stall_model::BOTH | idr0::stall_model::TERMINATE => false,
            idr0::stall_model::FORCED => true,
            _ => return contradiction("IDR0", id0, "STALL_MODEL is Reserved"),
        };
        let two_level_stream = match bits(id0, idr0::ST_LEVEL) {
            idr0::st_level::LINEAR => false,
            idr0::st_level::TWO_LEVEL => true,
            _ => return contradiction("IDR0", id0, "ST_LEVEL is Reserved"),
        };
        if flag(id1, idr1::TABLES_PRESET) {
            return unsupported("IDR1", id1, "a preset Stream table");
        }
        if flag(id1, idr1::QUEUES_PRESET) {
            return unsupported("IDR1", id1, "preset queues");
        }
        let (sid_bits, ssid_bits) = (bits(id1, idr1::SIDSIZE) as u8, bits(id1, idr1::SSIDSIZE) as u8);
        if sid_bits > 32 {
            return contradiction("IDR1", id1, "SIDSIZE is more than 32");
        }
        if ssid_bits > 20 {
            return contradiction("IDR1", id1, "SSIDSIZE is more than 20");
        }
        let cmdq_bits = bits(id1, idr1::CMDQS) as u8;
        let (eventq_bits, priq_bits) = (bits(id1, idr1::EVENTQS) as u8, bits(id1, idr1::PRIQS) as u8);
        if cmdq_bits > 19 || eventq_bits > 19 || priq_bits > 19 {
            return contradiction("IDR1", id1, "a queue of more than 2^19 entries");
        }
        let granules = u64::from(flag(id5, idr5::GRAN4K)) << 12
            | u64::from(flag(id5, idr5::GRAN16K)) << 14
            | u64::from(flag(id5, idr5::GRAN64K)) << 16;
        if granules == 0 {
            return contradiction("IDR5", id5, "no granule is implemented");
        }
        // 56 bits need 128-bit descriptors; with 64-bit ones 52 is the most (6.3.6).
        let oas_bits = idr5::oas::BITS[bits(id5, idr5::OAS) as usize].min(52);
        let httu = config.firmware.httu.map_or(bits(id0, idr0::HTTU), u64::from);
        Ok(Self {
            stage_1,
            stage_2,
            coherent: config.firmware.coherent.unwrap_or(flag(id0, idr0::COHACC)),
            dirty: httu >= idr0::httu::ACCESS_DIRTY,
            el2: flag(id0, idr0::HYP),
            ats: flag(id0, idr0::ATS),
            pri: flag(id0, idr0::PRI) && flag(id0, idr0::ATS),
            msi: flag(id0, idr0::MSI),
            asid_bits: if flag(id0, idr0::ASID16) { 16 } else { 8 },
            vmid_bits: if flag(id0, idr0::VMID16) { 16 } else { 8 },
            two_level_cd: flag(id0, idr0::CD2L),
            two_level_stream,
            stall_forced,
            sid_bits,
            ssid_bits: if stage_1 { ssid_bits } else { 0 },
            cmdq_bits,
            eventq_bits,
            priq_bits,
            range_invalidation: flag(id3, idr3::RIL),
            oas_bits,
            granules,
            vax_52: bits(id5, idr5::VAX) >= idr5::vax::BITS_52,
        })
    }

    /// The first physical address that the SMMU's own accesses cannot reach.
    pub fn below(&self) -> PhysAddr {
        PhysAddr(1 << self.oas_bits)
    }

    /// Whether a source's translation requests can be served: not where stage 2 faults must stall (5.2, EATS).
    pub fn serves_ats(&self) -> bool {
        self.ats && !self.stall_forced
    }

    /// The widest PASID that entries can be made for. A linear CD table is held to 64 KiB.
    pub fn pasid_bits(&self) -> u8 {
        if self.two_level_cd { self.ssid_bits } else { self.ssid_bits.min(10) }
    }
}
