//! What is counted: for each CPU where it is counted often, so that counting takes no locked instruction.

use super::MapError;
use alloc::{boxed::Box, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};
use ioward_types::hint::seldom;

/// What an address space has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpaceStats {
    /// Bytes of IOVA that are allocated, those among them whose mapping waits for its flush.
    pub iova_in_use: u64,
    /// Bytes of memory that are withheld for ever because an IOMMU did not confirm an invalidation.
    pub quarantined: u64,
    /// Mappings of the DMA API that live: a list or a reserved range counts once.
    pub live_mappings: u64,
    /// Bytes that they map, whole pages.
    pub mapped_bytes: u64,
    /// Mappings that were ever made.
    pub mappings: u64,
    /// Bytes that were ever copied to or from bounce frames.
    pub bounced_bytes: u64,
    /// Flushes that the DMA API has waited for.
    pub flushes: u64,
    /// Mappings that have been released and wait in a queue: for their flush, or to be ended since.
    pub queued: u64,
    /// What could not be mapped, by kind.
    pub failures: Failures,
}

/// How often the DMA API refused to map, by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Failures {
    /// No bytes, an end that wraps, parts of pages: the caller's mistake.
    pub invalid: u64,
    /// Beyond what the device or the tables can address, or in a window that is never mapped.
    pub range: u64,
    /// No IOVA was free.
    pub iova: u64,
    /// No memory for a table, or for bounce frames.
    pub memory: u64,
    /// An IOMMU refused, none is attached, or the device cannot do it.
    pub refused: u64,
    /// An IOMMU did not answer.
    pub hung: u64,
}

/// What is counted often.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Count {
    /// Mappings of one page: they are counted once, and their bytes worked out when somebody asks.
    Pages,
    /// Such mappings that have ended, by a flush with others.
    PagesPutOff,
    /// Such mappings that have ended, by a flush of their own.
    PagesFlushed,
    /// All other mappings.
    Mappings,
    MappedBytes,
    Unmappings,
    UnmappedBytes,
    BouncedBytes,
    Flushes,
}

const COUNTS: usize = 9;
const FAILURES: usize = 6;

/// One CPU's, on cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Slot([AtomicU64; COUNTS]);

pub struct Counters {
    /// How many bytes a page has.
    page: u64,
    slots: Box<[Slot]>,
    /// For CPUs beyond those that were announced.
    others: Slot,
    failures: [AtomicU64; FAILURES],
    quarantined: AtomicU64,
}

impl Counters {
    pub fn new(cpus: usize, page: u64) -> Self {
        let slots: Vec<Slot> = (0..cpus).map(|_| Slot::default()).collect();
        Self {
            page,
            slots: slots.into_boxed_slice(),
            others: Slot::default(),
            failures: Default::default(),
            quarantined: AtomicU64::new(0),
        }
    }

    /// Counts on the CPU `cpu`, to which the caller is pinned: nobody else stores there.
    #[inline(always)]
    pub fn add<Pin>(&self, _pin: &Pin, cpu: usize, what: &[(Count, u64)]) {
        match self.slots.get(cpu) {
            Some(slot) => {
                for (count, by) in what {
                    let place = &slot.0[*count as usize];
                    place.store(place.load(Ordering::Relaxed).wrapping_add(*by), Ordering::Relaxed);
                }
            }
            None => {
                seldom();
                for (count, by) in what {
                    self.others.0[*count as usize].fetch_add(*by, Ordering::Relaxed);
                }
            }
        }
    }

    pub fn quarantine(&self, bytes: u64) {
        self.quarantined.fetch_add(bytes, Ordering::Relaxed);
    }

    #[cold]
    pub fn fail(&self, error: &MapError) {
        let kind = match error {
            MapError::Empty(_)
            | MapError::Misaligned { .. }
            | MapError::Exists(_)
            | MapError::NoSlot { .. }
            | MapError::TooLong { .. } => 0,
            MapError::Aperture(_) | MapError::Forbidden(_) => 1,
            MapError::Iova(_) => 2,
            MapError::NoMemory(_) | MapError::Table(ioward_pgtable::MapCause::NoMemory(_)) => 3,
            MapError::Hung(_) => 5,
            MapError::Table(_) | MapError::Refused(_) | MapError::NoCarrier | MapError::DoesNotSnoop => 4,
        };
        self.failures[kind].fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, count: Count) -> u64 {
        let of = |slot: &Slot| slot.0[count as usize].load(Ordering::Relaxed);
        self.slots.iter().chain([&self.others]).map(of).fold(0, u64::wrapping_add)
    }

    /// What was counted; while others map, what it was a moment ago.
    pub fn stats(&self) -> SpaceStats {
        // What ends is read first: what is seen to end has been seen to begin.
        let flushed = self.sum(Count::PagesFlushed);
        let pages_ended = flushed.wrapping_add(self.sum(Count::PagesPutOff));
        let ended = self.sum(Count::Unmappings).wrapping_add(pages_ended);
        let ended_bytes = self.sum(Count::UnmappedBytes).wrapping_add(pages_ended.wrapping_mul(self.page));
        let pages = self.sum(Count::Pages);
        let mappings = self.sum(Count::Mappings).wrapping_add(pages);
        let mapped_bytes = self.sum(Count::MappedBytes).wrapping_add(pages.wrapping_mul(self.page));
        let [invalid, range, iova, memory, refused, hung] =
            core::array::from_fn(|kind| self.failures[kind].load(Ordering::Relaxed));
        SpaceStats {
            live_mappings: mappings.saturating_sub(ended),
            mapped_bytes: mapped_bytes.saturating_sub(ended_bytes),
            mappings,
            bounced_bytes: self.sum(Count::BouncedBytes),
            flushes: self.sum(Count::Flushes).wrapping_add(flushed),
            quarantined: self.quarantined.load(Ordering::Relaxed),
            failures: Failures { invalid, range, iova, memory, refused, hung },
            ..SpaceStats::default()
        }
    }
}
