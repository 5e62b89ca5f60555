//! A unit over a little memory whose layout is fixed, so that entries can be written as numbers.

use crate::{
    Access, IommuModel, Memory, Outcome, Request, SimPlatform, Violations,
    amdvi::{AmdViConfig, AmdViModel},
};
use ioward_types::{Iova, Mmio, Pasid, PhysAddr, Platform, SourceId};
use std::sync::Arc;

/// 512 entries.
pub const DEVICE_TABLE: u64 = 0x0100_0000;
pub const COMMANDS: u64 = 0x0101_0000;
pub const EVENTS: u64 = 0x0102_0000;
pub const SEMAPHORE: u64 = 0x0103_0000;
/// Everything in memory that the bench allocated ends here.
pub const END: u64 = 0x0123_0000;

/// The device that most tests use.
pub const DEVICE: SourceId = SourceId(0x08);

pub struct Bench {
    pub memory: Memory,
    pub platform: SimPlatform,
    pub model: Arc<AmdViModel>,
}

impl Bench {
    /// Enabled: IommuEn, EventLogEn, EventIntEn, ComWaitIntEn, InvTimeOut 1 s, Coherent, CmdBufEn, GTEn if there is
    /// guest translation.
    pub fn new(config: AmdViConfig) -> Self {
        let guest = config.guest_translation;
        let bench = Self::off(config);
        bench.model.write64(0x0000, 0x0000_0000_0100_0003);
        bench.model.write64(0x0008, 0x0800_0000_0101_0000);
        bench.model.write64(0x0010, 0x0800_0000_0102_0000);
        bench.model.write64(0x0018, if guest { 0x1_149d } else { 0x149d });
        assert_eq!(bench.model.read64(0x2020), 0x18, "the command buffer and the event log run");
        bench
    }

    /// Out of reset.
    pub fn off(config: AmdViConfig) -> Self {
        let memory = Memory::new(PhysAddr(DEVICE_TABLE), 0x40_0000, Violations::default());
        let platform = SimPlatform::new(memory.clone());
        let all = (END - DEVICE_TABLE) as usize;
        assert_eq!(platform.frames(all, 0x1000, PhysAddr(u64::MAX)), Ok(PhysAddr(DEVICE_TABLE)));
        let model = Arc::new(AmdViModel::new(config, memory.clone()));
        model.set_latency(0);
        Self { memory, platform, model }
    }

    pub fn put(&self, at: u64, value: u64) {
        self.memory.write64("test", PhysAddr(at), value).unwrap();
    }

    pub fn get(&self, at: u64) -> u64 {
        self.memory.read64("test", PhysAddr(at), true).unwrap()
    }

    /// The four words of a device table entry.
    pub fn entry(&self, device: SourceId, words: [u64; 4]) {
        for (n, word) in words.into_iter().enumerate() {
            self.put(DEVICE_TABLE + u64::from(device.0) * 32 + n as u64 * 8, word);
        }
    }

    /// Queues commands and rings.
    pub fn command(&self, words: [u64; 2]) {
        let tail = self.model.read64(0x2008);
        self.put(COMMANDS + tail, words[0]);
        self.put(COMMANDS + tail + 8, words[1]);
        self.model.write64(0x2008, (tail + 16) % 0x1000);
    }

    /// COMPLETION_WAIT; whether it completed.
    pub fn wait(&self) -> bool {
        self.put(SEMAPHORE, 0);
        self.command([0x1000_0000_0103_0001, 0x77]);
        self.get(SEMAPHORE) == 0x77
    }

    pub fn request(&self, source: SourceId, pasid: Option<u32>, at: u64, access: Access) -> Outcome {
        self.model.request(&Request {
            source,
            pasid: pasid.map(Pasid),
            at: Iova(at),
            access,
            privileged: false,
        })
    }

    /// Where a read without PASID of [`DEVICE`] goes.
    pub fn read(&self, at: u64) -> Option<u64> {
        reached(self.request(DEVICE, None, at, Access::Read))
    }

    pub fn write(&self, at: u64) -> Option<u64> {
        reached(self.request(DEVICE, None, at, Access::Write))
    }

    /// The event log's next entry, taken.
    pub fn event(&self) -> Option<[u64; 2]> {
        let head = self.model.read64(0x2010);
        if head == self.model.read64(0x2018) {
            return None;
        }
        let words = [self.get(EVENTS + head), self.get(EVENTS + head + 8)];
        self.model.write64(0x2010, (head + 16) % 0x1000);
        Some(words)
    }

    pub fn clean(&self) {
        self.memory.violations().assert_none();
        assert_eq!(self.event(), None);
    }

    /// The violations so far, which must be these and cite these sections, in this order.
    pub fn violated(&self, sections: &[&str]) {
        let found: Vec<_> = self.memory.violations().take();
        let cited: Vec<_> = found.iter().map(|violation| violation.section).collect();
        assert_eq!(cited, sections, "{found:#?}");
    }
}

pub fn reached(outcome: Outcome) -> Option<u64> {
    match outcome {
        Outcome::To { at, .. } => Some(at.0),
        _ => None,
    }
}

/// A host table of three levels for domain 5 at 0x0110_0000 that maps 0x5000 to 0x0120_0000, read and write, and the
/// entry of [`DEVICE`] that points to it.
pub fn three_levels(bench: &Bench) {
    bench.put(0x0110_0000, 0x6000_0000_0110_1401);
    bench.put(0x0110_1000, 0x6000_0000_0110_2201);
    bench.put(0x0110_2028, 0x6000_0000_0120_0001);
    bench.entry(DEVICE, [0x6000_0000_0110_0603, 0x5, 0, 0]);
}
