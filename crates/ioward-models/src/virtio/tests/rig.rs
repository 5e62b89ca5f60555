//! A driver's part, by hand: words and registers as numbers, without a field of `ioward-spec`.

use crate::{
    Access, IommuModel, Memory, Outcome, Request, SimPlatform, Violations,
    virtio::{VirtioIommuConfig, VirtioIommuModel},
};
use ioward_types::{Frames, Iova, Mmio, PhysAddr, SourceId};
use std::{cell::Cell, sync::Arc};

/// Entries of a queue.
pub const ENTRIES: u64 = 8;
/// Offsets of the rings in the frames of a queue, and of the buffers.
const AVAILABLE: usize = 0x200;
const USED: usize = 0x400;
const BUFFER: usize = 0x800;
/// Of the part that the device writes.
const REPLY: usize = 0xa00;
pub const ALL: u64 = 0x7f & !8 | 3 << 32;

pub struct Rig {
    pub model: Arc<VirtioIommuModel>,
    pub memory: Memory,
    pub queues: [Frames<SimPlatform>; 2],
    /// Requests made so far.
    made: Cell<u64>,
}

impl Rig {
    /// Nothing is set up yet.
    pub fn cold(config: VirtioIommuConfig) -> Self {
        let memory = Memory::new(PhysAddr(0x8000_0000), 0x10_0000, Violations::default());
        let platform = SimPlatform::new(memory.clone());
        let model = Arc::new(VirtioIommuModel::new(config, memory.clone()));
        let queues = [(); 2].map(|()| Frames::new(&platform, 4096, 4096, PhysAddr(u64::MAX)).unwrap());
        Self { model, memory, queues, made: Cell::new(0) }
    }

    pub fn new(config: VirtioIommuConfig) -> Self {
        let rig = Self::cold(config);
        let accepted = ALL & rig.model.config().features;
        rig.start(accepted);
        rig
    }

    pub fn register(&self, at: usize, value: u32) {
        self.model.write32(at, value);
    }

    pub fn negotiate(&self, accepted: u64) {
        [0, 1, 3].into_iter().for_each(|status| self.register(0x70, status));
        for half in 0..2 {
            self.register(0x24, half);
            self.register(0x20, (accepted >> (32 * half)) as u32);
        }
        self.register(0x70, 11);
    }

    pub fn queue(&self, queue: u32) {
        let at = self.queues[queue as usize].phys().0;
        self.register(0x30, queue);
        self.register(0x38, ENTRIES as u32);
        self.register(0x80, at as u32);
        self.register(0x90, (at + AVAILABLE as u64) as u32);
        self.register(0xa0, (at + USED as u64) as u32);
        self.register(0x44, 1);
    }

    pub fn start(&self, accepted: u64) {
        self.negotiate(accepted);
        if accepted & 1 << 6 != 0 {
            self.model.write8(0x124, 0);
        }
        self.queue(0);
        self.queue(1);
        self.register(0x70, 15);
    }

    pub fn descriptor(&self, queue: usize, index: u64, at: u64, word: u64) {
        let base = index as usize * 16;
        self.queues[queue].store64(base, at);
        self.queues[queue].store64(base + 8, word);
    }

    /// Puts a head into the available ring.
    pub fn offer(&self, queue: usize, number: u64, head: u64) {
        let byte = 4 + (number % ENTRIES) as usize * 2;
        let (word, shift) = (AVAILABLE + byte / 8 * 8, byte % 8 * 8);
        let old = self.queues[queue].load64(word) & !(0xffff << shift);
        self.queues[queue].store64(word, old | head << shift);
        let first = self.queues[queue].load64(AVAILABLE) & !0xffff_0000;
        self.queues[queue].store64(AVAILABLE, first | ((number + 1) & 0xffff) << 16);
    }

    /// Asks with words, of which the device reads `bytes` and writes `back`; the status, or none where nothing came back.
    pub fn ask(&self, words: &[u64], bytes: u64, back: u64) -> Option<u8> {
        let frames = &self.queues[0];
        let number = self.made.replace(self.made.get() + 1);
        words.iter().enumerate().for_each(|(n, word)| frames.store64(BUFFER + n * 8, *word));
        (0..back.next_multiple_of(8)).step_by(8).for_each(|at| frames.store64(REPLY + at as usize, u64::MAX));
        self.descriptor(0, 0, frames.phys().0 + BUFFER as u64, bytes | 1 << 32 | 1 << 48);
        self.descriptor(0, 1, frames.phys().0 + REPLY as u64, back | 2 << 32);
        self.offer(0, number, 0);
        self.register(0x50, 0);
        let used = (frames.load64(USED) >> 16) as u16;
        if u64::from(used) != (number + 1) & 0xffff {
            return None;
        }
        let byte = 4 + (number % ENTRIES) as usize * 8;
        let written = (frames.load64(USED + byte / 8 * 8 + 8) & 0xffff_ffff) as u32;
        let tail = back as usize - 4;
        (written != 0).then(|| (frames.load64(REPLY + tail / 8 * 8) >> (tail % 8 * 8)) as u8)
    }

    pub fn reply(&self, n: usize) -> u64 {
        self.queues[0].load64(REPLY + n * 8)
    }

    pub fn attach(&self, domain: u64, endpoint: u64, flags: u64) -> Option<u8> {
        self.ask(&[1 | domain << 32, endpoint | flags << 32, 0], 20, 4)
    }

    pub fn detach(&self, domain: u64, endpoint: u64) -> Option<u8> {
        self.ask(&[2 | domain << 32, endpoint, 0], 20, 4)
    }

    pub fn map(&self, domain: u64, start: u64, end: u64, to: u64, flags: u64) -> Option<u8> {
        self.ask(&[3 | domain << 32, start, end, to, flags], 36, 4)
    }

    pub fn unmap(&self, domain: u64, start: u64, end: u64) -> Option<u8> {
        self.ask(&[4 | domain << 32, start, end, 0], 28, 4)
    }

    pub fn probe(&self, endpoint: u64) -> Option<u8> {
        let size = u64::from(self.model.config().probe_size);
        self.ask(&[5 | endpoint << 32, 0, 0, 0, 0, 0, 0, 0, 0], 72, size + 4)
    }

    pub fn goes(&self, source: u32, at: u64, access: Access) -> Option<u64> {
        let request =
            Request { source: SourceId(source), pasid: None, at: Iova(at), access, privileged: false };
        match self.model.request(&request) {
            Outcome::To { at, .. } => Some(at.0),
            _ => None,
        }
    }

    /// How many violations there have been since the last call, none of which may lack a section.
    pub fn violations(&self) -> usize {
        let all = self.memory.violations().take();
        assert!(all.iter().all(|one| one.section.contains('§') || one.section == "use after free"));
        all.len()
    }
}
