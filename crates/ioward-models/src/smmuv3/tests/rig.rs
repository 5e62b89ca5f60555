//! A machine of one SMMU with a linear Stream table of 16 entries, enabled as firmware might leave it.

use crate::{
    Access, IommuModel, Memory, Outcome, Request, SimPlatform, Violations,
    smmuv3::{Features, Smmu},
};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, Platform, SourceId};
use std::sync::Arc;

pub const STREAMS: u64 = 0x8000_0000;
pub const CMDQ: u64 = 0x8001_0000;
pub const EVENTQ: u64 = 0x8002_0000;
pub const CDS: u64 = 0x8003_0000;
pub const TABLES: u64 = 0x8004_0000;
pub const DATA: u64 = 0x8010_0000;
pub const BYTES: u64 = 0x20_0000;

/// S1DSS terminate, CD fetches write-back inner shareable, EATS full, SHCFG incoming.
pub const STE_WORD1: u64 = 0x0000_1000_1000_00d4;
/// V, stage 1, one CD at [`CDS`].
pub const STE_S1: u64 = 0x0000_0000_8003_000b;
/// V, T0SZ 16, 4KB, walks write-back inner shareable, EPD1, IPS 48, AA64, R, A, ASET, ASID 7.
pub const CD: u64 = 0x0007_e205_c000_3510;
/// Attribute 0 write-back, 1 Device-nGnRE, 2 non-cacheable.
pub const MAIR: u64 = 0x0044_04ff;
/// A page: valid, AF, inner shareable, unprivileged read and write, not global, execute-never.
pub const PAGE: u64 = 0x0060_0000_0000_0f43;

pub struct Rig {
    pub memory: Memory,
    pub smmu: Arc<Smmu>,
}

impl Rig {
    pub fn new(features: Features) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), BYTES, Violations::default());
        let platform = SimPlatform::new(memory.clone());
        let frames = platform.frames(BYTES as usize, 0x20_0000, PhysAddr(u64::MAX)).unwrap();
        assert_eq!(frames.0, STREAMS);
        let smmu = Smmu::new("smmu", features, memory.clone());
        Self { memory, smmu }
    }

    /// Enabled: SMMUEN, EVENTQEN, CMDQEN, ATSCHK; 16 streams, 16 commands, 8 events.
    pub fn enabled(features: Features) -> Self {
        let rig = Self::new(features);
        rig.enable();
        rig
    }

    pub fn enable(&self) {
        self.smmu.preset(0x28, 0xd75);
        self.smmu.preset(0x2c, 0x2);
        self.smmu.preset(0x80, STREAMS);
        self.smmu.preset(0x88, 4);
        self.smmu.preset(0x90, CMDQ | 4);
        self.smmu.preset(0xa0, EVENTQ | 3);
        self.smmu.preset(0x20, 0x1d);
    }

    /// Stream 5 translates by stage 1, ASID 7: 0x1000 goes to [`DATA`], 0x2000 to the page behind it.
    pub fn stage1(features: Features) -> Self {
        let rig = Self::enabled(features);
        rig.map();
        rig
    }

    pub fn map(&self) {
        self.put(STREAMS + 5 * 64, &[STE_S1, STE_WORD1]);
        self.put(CDS, &[CD, TABLES, 0, MAIR]);
        self.put(TABLES, &[0x8004_1003]);
        self.put(0x8004_1000, &[0x8004_2003]);
        self.put(0x8004_2000, &[0x8004_3003]);
        self.put(0x8004_3008, &[PAGE | DATA, PAGE | (DATA + 0x1000)]);
    }

    pub fn put(&self, at: u64, words: &[u64]) {
        for (n, word) in words.iter().enumerate() {
            self.memory.write64("test", PhysAddr(at + 8 * n as u64), *word).unwrap();
        }
    }

    pub fn read(&self, at: u64) -> u64 {
        self.memory.read64("test", PhysAddr(at), true).unwrap()
    }

    /// Appends a command.
    pub fn command(&self, words: [u64; 2]) {
        let prod = self.smmu.read32(0x98);
        self.put(CMDQ + u64::from(prod & 15) * 16, &words);
        self.smmu.write32(0x98, (prod + 1) & 31);
    }

    /// A command and the CMD_SYNC that completes it.
    pub fn synced(&self, words: [u64; 2]) {
        self.command(words);
        self.command([0x46, 0]);
        assert_eq!(self.smmu.read32(0x98), self.smmu.read32(0x9c), "consumed");
    }

    pub fn access(&self, source: u32, pasid: Option<u32>, at: u64, access: Access) -> Outcome {
        self.smmu.request(&request(source, pasid, at, access))
    }

    /// Where a read of stream 5 goes.
    pub fn goes(&self, at: u64) -> Option<u64> {
        match self.access(5, None, at, Access::Read) {
            Outcome::To { at, .. } => Some(at.0),
            _ => None,
        }
    }

    /// The oldest record of the Event queue, taken.
    pub fn event(&self) -> Option<[u64; 4]> {
        let (prod, cons) = (self.smmu.read32(0x100a8), self.smmu.read32(0x100ac));
        if prod & 0xf == cons & 0xf {
            return None;
        }
        let at = EVENTQ + u64::from(cons & 7) * 32;
        self.smmu.write32(0x100ac, (cons + 1) & 0xf | cons & 0x8000_0000);
        Some(std::array::from_fn(|n| self.read(at + 8 * n as u64)))
    }

    /// Sections of the violations since the last call.
    pub fn sections(&self) -> Vec<&'static str> {
        self.memory.violations().take().iter().map(|violation| violation.section).collect()
    }
}

pub fn request(source: u32, pasid: Option<u32>, at: u64, access: Access) -> Request {
    Request { source: SourceId(source), pasid: pasid.map(Pasid), at: Iova(at), access, privileged: false }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.memory.violations().assert_none();
        }
    }
}
