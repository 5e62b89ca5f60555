//! A unit over a little memory whose layout is fixed, so that entries can be written as numbers.

use crate::{
    Access, IommuModel, Memory, Outcome, Request, SimPlatform, Violations,
    vtd::{VtdConfig, VtdModel},
};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, Platform, SourceId};
use std::sync::Arc;

pub const ROOT: u64 = 0x0100_0000;
/// The context table of bus 0; in scalable mode the lower one, the upper follows.
pub const CONTEXT: u64 = 0x0101_0000;
pub const QUEUE: u64 = 0x0102_0000;
pub const STATUS: u64 = 0x0103_0000;
pub const INTERRUPTS: u64 = 0x0104_0000;
pub const REQUESTS: u64 = 0x0105_0000;
/// PASID directory, and the first PASID table behind it.
pub const DIRECTORY: u64 = 0x0106_0000;
pub const PASIDS: u64 = 0x0107_0000;
/// Everything in memory that the bench allocated ends here.
pub const END: u64 = 0x0140_0000;

/// The device that most tests use: 0:1.0.
pub const DEVICE: SourceId = SourceId(0x08);

pub struct Bench {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<VtdModel>,
}

impl Bench {
    /// Out of reset, with an empty root table.
    pub fn off(config: VtdConfig) -> Self {
        let memory = Memory::new(PhysAddr(ROOT), 0x60_0000, Violations::default());
        let platform = SimPlatform::new(memory.clone());
        let all = (END - ROOT) as usize;
        assert_eq!(platform.frames(all, 0x1000, PhysAddr(u64::MAX)), Ok(PhysAddr(ROOT)));
        let model = Arc::new(VtdModel::new(config, memory.clone()));
        model.set_latency(0);
        Self { memory, platform, model }
    }

    /// Legacy mode, translating, with a queue of 128-bit descriptors where there is one.
    pub fn legacy(config: VtdConfig) -> Self {
        let queued = config.queued;
        let bench = Self::off(config);
        if queued {
            bench.model.write64(0x90, QUEUE);
            bench.model.write32(0x18, 0x0400_0000);
        }
        bench.put(ROOT, 0x0101_0001);
        bench.model.write64(0x20, ROOT);
        bench.turn_on(queued);
        bench
    }

    /// Scalable mode, translating, with a queue of 256-bit descriptors. The device's context entry has 128 directory
    /// entries, DTE, PASIDE and PRE; PASIDs 0 to 63 have a table.
    pub fn scalable(config: VtdConfig) -> Self {
        let bench = Self::off(config);
        bench.model.write64(0x90, QUEUE | 0x800);
        bench.model.write32(0x18, 0x0400_0000);
        bench.put(ROOT, 0x0101_0001);
        bench.put(ROOT + 8, 0x0101_1001);
        bench.put(CONTEXT + 0x100, 0x0106_001d);
        bench.put(DIRECTORY, 0x0107_0001);
        bench.model.write64(0x20, ROOT | 0x400);
        bench.turn_on(true);
        bench
    }

    fn turn_on(&self, queued: bool) {
        let queue = if queued { 0x0400_0000 } else { 0 };
        self.model.write32(0x18, queue | 0x4000_0000);
        self.model.write32(0x18, queue | 0x8000_0000);
        assert_eq!(self.model.read32(0x1c), queue | 0xc000_0000);
    }

    pub fn put(&self, at: u64, value: u64) {
        self.memory.write64("test", PhysAddr(at), value).unwrap();
    }

    pub fn get(&self, at: u64) -> u64 {
        self.memory.read64("test", PhysAddr(at), true).unwrap()
    }

    /// The context entry of [`DEVICE`] in legacy mode.
    pub fn context(&self, words: [u64; 2]) {
        self.put(CONTEXT + 0x80, words[0]);
        self.put(CONTEXT + 0x88, words[1]);
    }

    /// A PASID entry's first three words.
    pub fn pasid(&self, pasid: u64, words: [u64; 3]) {
        for (n, word) in words.into_iter().enumerate() {
            self.put(PASIDS + pasid * 64 + n as u64 * 8, word);
        }
    }

    /// Queues a descriptor and rings.
    pub fn command(&self, words: [u64; 2]) {
        let wide = self.model.read64(0x90) & 0x800 != 0;
        let bytes = if wide { 32 } else { 16 };
        let tail = self.model.read64(0x88);
        for n in 0..bytes / 8 {
            self.put(QUEUE + tail + 8 * n, words.get(n as usize).copied().unwrap_or(0));
        }
        self.model.write64(0x88, (tail + bytes) % 0x1000);
    }

    /// Invalidation wait with a status write; whether it completed.
    pub fn wait(&self) -> bool {
        self.put(STATUS, 0);
        self.command([0x0000_0077_0000_0025, STATUS]);
        self.get(STATUS) == 0x77
    }

    pub fn request(&self, source: SourceId, pasid: Option<u32>, at: u64, access: Access) -> Outcome {
        self.model.request(&request(source, pasid, at, access))
    }

    /// Where a read without PASID of [`DEVICE`] goes.
    pub fn read(&self, at: u64) -> Option<u64> {
        reached(self.request(DEVICE, None, at, Access::Read))
    }

    pub fn write(&self, at: u64) -> Option<u64> {
        reached(self.request(DEVICE, None, at, Access::Write))
    }

    /// Where a read with a PASID of [`DEVICE`] goes.
    pub fn read_as(&self, pasid: u32, at: u64) -> Option<u64> {
        reached(self.request(DEVICE, Some(pasid), at, Access::Read))
    }

    pub fn write_as(&self, pasid: u32, at: u64) -> Option<u64> {
        reached(self.request(DEVICE, Some(pasid), at, Access::Write))
    }

    /// The next fault record, taken.
    pub fn fault(&self) -> Option<[u64; 2]> {
        let status = self.model.read32(0x34);
        if status & 2 == 0 {
            return None;
        }
        let at = 0x400 + 16 * (status >> 8 & 0xff) as usize;
        let words = [self.model.read64(at), self.model.read64(at + 8)];
        self.model.write32(at + 12, 0x8000_0000);
        Some(words)
    }

    /// The reason of the next fault record, taken.
    pub fn reason(&self) -> Option<u64> {
        self.fault().map(|words| words[1] >> 32 & 0xff)
    }

    pub fn clean(&self) {
        self.memory.violations().assert_none();
        assert_eq!(self.fault(), None);
    }

    /// The violations so far, which must cite these sections, in this order.
    pub fn violated(&self, sections: &[&str]) {
        let found: Vec<_> = self.memory.violations().take();
        let cited: Vec<_> = found.iter().map(|violation| violation.section).collect();
        assert_eq!(cited, sections, "{found:#?}");
    }
}

pub fn request(source: SourceId, pasid: Option<u32>, at: u64, access: Access) -> Request {
    Request { source, pasid: pasid.map(Pasid), at: Iova(at), access, privileged: false }
}

pub fn reached(outcome: Outcome) -> Option<u64> {
    match outcome {
        Outcome::To { at, .. } => Some(at.0),
        _ => None,
    }
}

/// A second-stage table of four levels at 0x0110_0000 that maps 0x5000 to 0x0120_0000, read and write.
pub fn four_levels(bench: &Bench) {
    bench.put(0x0110_0000, 0x0110_1003);
    bench.put(0x0110_1000, 0x0110_2003);
    bench.put(0x0110_2000, 0x0110_3003);
    bench.put(0x0110_3028, 0x0120_0003);
}

/// That table for domain 5, in the legacy context entry of [`DEVICE`].
pub fn mapped() -> Bench {
    let bench = Bench::legacy(VtdConfig::legacy());
    four_levels(&bench);
    bench.context([0x0110_0001, 0x502]);
    bench
}

/// A first-stage table of four levels at 0x0111_0000 that maps 0x5000 to 0x0120_0000 for users, read and write.
pub fn first_levels(bench: &Bench) {
    bench.put(0x0111_0000, 0x0111_1007);
    bench.put(0x0111_1000, 0x0111_2007);
    bench.put(0x0111_2000, 0x0111_3007);
    bench.put(0x0111_3028, 0x0120_0007);
}
