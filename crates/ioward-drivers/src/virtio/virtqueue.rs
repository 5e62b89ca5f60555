//! The memory of a split virtqueue (virtio 1.3 §2.7), without any policy of who uses which descriptor.

use super::transport::QueueSetup;
use ioward_spec::virtio::queue::{FLAGS, INDEX, available, descriptor, used};
use ioward_types::{Frames, OutOfMemory, PhysAddr, Platform, Span};

/// What device and driver write lies in different cache lines.
const LINE: usize = 128;

pub(super) struct Virtqueue<P: Platform> {
    platform: P,
    frames: Frames<P>,
    entries: u16,
    available: usize,
    used: usize,
    coherent: bool,
}

/// How far both sides have come.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Cursor {
    available: u16,
    used: u16,
}

/// A chain that came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Used {
    /// As the device wrote it: not checked.
    pub head: u32,
    /// How many bytes it says that it wrote.
    pub bytes: u32,
}

impl<P: Platform> Virtqueue<P> {
    /// A queue of `entries`, a power of two, on which nothing is.
    pub fn new(platform: &P, entries: u16, coherent: bool) -> Result<Self, OutOfMemory> {
        let n = usize::from(entries);
        let available = (n * descriptor::BYTES).next_multiple_of(LINE);
        let used = (available + available::bytes(n)).next_multiple_of(LINE);
        let bytes = (used + used::bytes(n)).next_multiple_of(LINE);
        let frames = Frames::new(platform, bytes, 4096, PhysAddr(u64::MAX))?;
        let queue = Self { platform: platform.clone(), frames, entries, available, used, coherent };
        if !coherent {
            queue.frames.clean(0, bytes);
        }
        Ok(queue)
    }

    /// # Safety
    /// No device has been told of it, or it was reset since.
    pub unsafe fn free(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.frames.free() }
    }

    pub fn setup(&self) -> QueueSetup {
        let at = |offset| PhysAddr(self.frames.phys().0 + offset as u64);
        QueueSetup {
            entries: self.entries,
            descriptors: at(0),
            available: at(self.available),
            used: at(self.used),
        }
    }

    pub fn entries(&self) -> u16 {
        self.entries
    }

    fn store(&self, offset: usize, value: u64) {
        self.frames.store64(offset, value);
        if !self.coherent {
            self.frames.clean(offset, 8);
        }
    }

    /// What the device wrote into the used ring.
    fn load(&self, offset: usize) -> u64 {
        if !self.coherent {
            let at = PhysAddr(self.frames.phys().0 + offset as u64);
            self.platform.invalidate_for_cpu(Span { start: at, bytes: 8 });
        }
        self.frames.load64(offset)
    }

    /// Writes a descriptor that is not the device's at the moment.
    pub fn describe(&self, index: u16, at: PhysAddr, bytes: u32, flags: u64, next: u16) {
        let mut words = [0; 2];
        descriptor::ADDRESS.set(&mut words, at.0);
        descriptor::LENGTH.set(&mut words, bytes.into());
        descriptor::FLAGS.set(&mut words, flags);
        descriptor::NEXT.set(&mut words, next.into());
        let offset = usize::from(index) * descriptor::BYTES;
        self.store(offset, words[0]);
        self.store(offset + 8, words[1]);
    }

    /// Says whether the device should interrupt when it has used a buffer.
    pub fn want_interrupts(&self, wanted: bool) {
        let flags = if wanted { 0 } else { available::F_NO_INTERRUPT };
        let word = self.frames.load64(self.available);
        self.store(self.available, FLAGS.with(word, flags.into()));
    }

    /// Gives the chain that starts at `head` to the device. Everything that it leads to has been stored.
    pub fn offer(&self, cursor: &mut Cursor, head: u16) {
        let byte = available::RING + usize::from(cursor.available % self.entries) * 2;
        let (word, shift) = (self.available + byte / 8 * 8, byte % 8 * 8);
        let old = self.frames.load64(word);
        self.store(word, old & !(0xffff << shift) | u64::from(head) << shift);
        // The entry and what it leads to, before the index that shows it.
        self.platform.publish();
        cursor.available = cursor.available.wrapping_add(1);
        let first = self.frames.load64(self.available);
        self.store(self.available, INDEX.with(first, cursor.available.into()));
    }

    /// Whether the device wants to hear of what was offered.
    pub fn wants_notification(&self) -> bool {
        // The index before its flag is looked at (§2.7.13.4.1).
        self.platform.fence();
        FLAGS.of(self.load(self.used)) & u64::from(used::F_NO_NOTIFY) == 0
    }

    /// The next chain that came back. `Err`: the device's index is ahead of the `out` chains that it can have.
    pub fn take(&self, cursor: &mut Cursor, out: u16) -> Result<Option<Used>, ()> {
        let index = INDEX.of(self.load(self.used)) as u16;
        let ahead = index.wrapping_sub(cursor.used);
        if ahead == 0 {
            return Ok(None);
        }
        if ahead > out {
            return Err(());
        }
        // The index before what it shows.
        self.platform.observe();
        let byte = used::RING + usize::from(cursor.used % self.entries) * used::ENTRY_BYTES;
        // Entries are aligned to four bytes, and the first is not to eight.
        let half = |byte: usize| (self.load(self.used + byte / 8 * 8) >> (byte % 8 * 8)) as u32;
        let found = Used { head: half(byte), bytes: half(byte + 4) };
        cursor.used = cursor.used.wrapping_add(1);
        Ok(Some(found))
    }
}
