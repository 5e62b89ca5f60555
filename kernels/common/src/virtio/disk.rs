//! A virtio disk: megabytes out and back at queue depth, and a buffer that its driver forgot to map.

use super::{Bench, Disk, transport};
use crate::{checks::Checks, pattern, script::Why};
use alloc::{
    boxed::Box,
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};
use core::ptr::NonNull;
use ioward::types::{Iova, Span};
use ioward_virtio_drivers::{HalOf, PlatformAccess, VirtioDevice as _};
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE,
    device::blk::{BlkReq, BlkResp, SECTOR_SIZE, VirtIOBlk},
    transport::pci::PciTransport,
};

/// Bytes of one request.
const CHUNK: usize = 64 << 10;
/// How many of them make up what is written.
const CHUNKS: usize = 64;
/// Requests under way at the same time: as many as the driver's queue holds.
const DEPTH: usize = 16;

type Driver = VirtIOBlk<HalOf<Disk>, PlatformAccess<PciTransport>>;

/// One request of the driver's, whose parts stay where they are until it is done.
struct Slot {
    head: BlkReq,
    status: BlkResp,
    /// Longer than a chunk: every other slot has its bytes at an odd place, sharing pages at both ends.
    memory: Vec<u8>,
    offset: usize,
    under_way: Option<(u16, usize)>,
}

impl Slot {
    fn new(index: usize) -> Box<Self> {
        let offset = index % 2 * (SECTOR_SIZE * 3 + 24);
        let (head, status) = Default::default();
        Box::new(Self { head, status, memory: vec![0; CHUNK + 2 * PAGE_SIZE], offset, under_way: None })
    }
}

pub fn run(bench: &Bench<'_>, checks: &mut Checks) -> Result<(), String> {
    Disk::shelf().fill(bench.bound.dma().clone()).map_err(|why| why.to_string())?;
    let mut disk = open(bench)?;
    let name = |what: &str| format!("{what}@disk/{}", bench.function);
    let _ = bench.faults();
    let mut slots: Vec<Box<Slot>> = (0..DEPTH).map(Slot::new).collect();
    let written = all(bench, &mut disk, &mut slots, true);
    if written.is_ok() {
        // Whoever runs the machine holds it against the drive.
        crate::say!("image disk 0 {} {:#x}", CHUNK * CHUNKS, sum());
    }
    checks.check(name("written"), written);
    checks.check(name("read-back"), all(bench, &mut disk, &mut slots, false));
    let faults = bench.faults();
    checks.check(name("no-fault"), if faults.is_empty() { Ok(()) } else { Err(Why::Reported(faults)) });
    // The device first: it is reset, and uses nothing any more.
    drop((disk, slots));
    Disk::shelf().empty().map_err(|why| why.to_string())?;
    let left = bench.bound.dma().stats().iova_in_use;
    checks.check(
        name("all-given-back"),
        if left == 0 { Ok(()) } else { Err(format!("{left:#x} bytes of IOVA")) },
    );

    careless(bench, checks)?;
    Disk::shelf().fill(bench.bound.dma().clone()).map_err(|why| why.to_string())?;
    let mut again: Driver = open(bench)?;
    let mut slots = vec![Slot::new(1)];
    checks.check(name("works-again"), one_chunk(bench, &mut again, &mut slots));
    drop(again);
    Disk::shelf().revoke_buffers();
    Disk::shelf().empty().map(drop).map_err(|why| why.to_string())
}

fn open<H: Hal>(bench: &Bench<'_>) -> Result<VirtIOBlk<H, PlatformAccess<PciTransport>>, String> {
    let disk = VirtIOBlk::<H, _>::new(transport::<H>(bench.stage.pci, bench.function)?);
    let disk = disk.map_err(|why| why.to_string())?;
    if (disk.capacity() as usize) < CHUNK * CHUNKS / SECTOR_SIZE {
        return Err(format!("the disk has {} sectors only", disk.capacity()));
    }
    Ok(disk)
}

/// Of all chunks.
fn sum() -> u64 {
    let (mut sum, mut chunk) = (pattern::Sum::default(), vec![0; CHUNK]);
    for number in 0..CHUNKS as u64 {
        pattern::fill(&mut chunk, number);
        sum.add(&chunk);
    }
    sum.value()
}

/// Writes every chunk, or reads and compares it, many at a time.
fn all(bench: &Bench<'_>, disk: &mut Driver, slots: &mut [Box<Slot>], write: bool) -> Result<(), String> {
    let (mut next, mut done) = (0, 0);
    while done < CHUNKS {
        for slot in slots.iter_mut().filter(|slot| slot.under_way.is_none()) {
            if next == CHUNKS {
                break;
            }
            let Slot { head, status, memory, offset, under_way } = &mut **slot;
            let data = &mut memory[*offset..*offset + CHUNK];
            let sector = next * CHUNK / SECTOR_SIZE;
            let token = if write {
                pattern::fill(data, next as u64);
                // SAFETY: the slot's parts are left alone until the request is done, or the device has been reset.
                unsafe { disk.write_blocks_nb(sector, head, data, status) }
            } else {
                data.fill(0);
                // SAFETY: as above.
                unsafe { disk.read_blocks_nb(sector, head, data, status) }
            };
            *under_way = Some((token.map_err(|why| format!("chunk {next}: {why}"))?, next));
            next += 1;
        }
        let token =
            bench.wait(|| disk.peek_used()).ok_or_else(|| format!("no answer after {done} chunks"))?;
        let slot = slots.iter_mut().find(|slot| slot.under_way.is_some_and(|(of, _)| of == token));
        let slot = slot.ok_or_else(|| format!("an answer to nothing: {token}"))?;
        let Some((_, chunk)) = slot.under_way.take() else { continue };
        let Slot { head, status, memory, offset, .. } = &mut **slot;
        let data = &mut memory[*offset..*offset + CHUNK];
        let result = if write {
            // SAFETY: the parts that the request was made of.
            unsafe { disk.complete_write_blocks(token, head, data, status) }
        } else {
            // SAFETY: as above.
            unsafe { disk.complete_read_blocks(token, head, data, status) }
        };
        result.map_err(|why| format!("chunk {chunk}: {why}"))?;
        if !write && !pattern::holds(data, chunk as u64) {
            return Err(format!("chunk {chunk} is not what was written"));
        }
        if slot.memory[..slot.offset].iter().chain(&slot.memory[slot.offset + CHUNK..]).any(|byte| *byte != 0)
        {
            return Err(format!("what lies beside chunk {chunk} was changed"));
        }
        done += 1;
    }
    Ok(())
}

/// The first chunk, read once.
fn one_chunk(bench: &Bench<'_>, disk: &mut Driver, slots: &mut [Box<Slot>]) -> Result<(), String> {
    let Slot { head, status, memory, offset, .. } = &mut *slots[0];
    let data = &mut memory[*offset..*offset + CHUNK];
    // SAFETY: the slot's parts are left alone until the request is done, or the device has been reset.
    let token = unsafe { disk.read_blocks_nb(0, head, data, status) }.map_err(|why| why.to_string())?;
    bench.wait(|| disk.peek_used()).ok_or("no answer")?;
    // SAFETY: the parts that the request was made of.
    unsafe { disk.complete_read_blocks(token, head, data, status) }.map_err(|why| why.to_string())?;
    if pattern::holds(data, 0) { Ok(()) } else { Err("it is not what was written".into()) }
}

/// The disk's `Hal`, but it gives the device data by its physical address, as a driver does that knows of no IOMMU.
struct Careless;

type Careful = HalOf<Disk>;

/// Everything else in a request is shorter.
fn is_data(bytes: NonNull<[u8]>) -> bool {
    bytes.len() >= SECTOR_SIZE
}

// SAFETY: as the one that it hands on to; what it gives away unmapped the device must not reach, which is what is checked.
unsafe impl Hal for Careless {
    fn dma_alloc(pages: usize, direction: BufferDirection) -> (u64, NonNull<u8>) {
        Careful::dma_alloc(pages, direction)
    }
    unsafe fn dma_dealloc(at: u64, memory: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: as promised by the caller.
        unsafe { Careful::dma_dealloc(at, memory, pages) }
    }
    unsafe fn mmio_phys_to_virt(at: u64, bytes: usize) -> NonNull<u8> {
        // SAFETY: as promised by the caller.
        unsafe { Careful::mmio_phys_to_virt(at, bytes) }
    }
    unsafe fn share(bytes: NonNull<[u8]>, direction: BufferDirection) -> u64 {
        if is_data(bytes) {
            return bytes.addr().get() as u64;
        }
        // SAFETY: as promised by the caller.
        unsafe { Careful::share(bytes, direction) }
    }
    unsafe fn unshare(at: u64, bytes: NonNull<[u8]>, direction: BufferDirection) {
        if !is_data(bytes) {
            // SAFETY: as promised by the caller.
            unsafe { Careful::unshare(at, bytes, direction) }
        }
    }
}

/// A driver that gives the device a physical address: the device must not reach it, and it must be reported.
fn careless(bench: &Bench<'_>, checks: &mut Checks) -> Result<(), String> {
    Disk::shelf().fill(bench.bound.dma().clone()).map_err(|why| why.to_string())?;
    let mut disk = open::<Careless>(bench)?;
    let _ = bench.faults();
    let mut slot = Slot::new(0);
    slot.memory.fill(0x5a);
    let Slot { head, status, memory, .. } = &mut *slot;
    let data = &mut memory[..CHUNK];
    let place = Span { start: Iova(data.as_ptr() as u64), bytes: CHUNK as u64 };
    // SAFETY: the slot's parts are left alone until the device has been reset.
    unsafe { disk.read_blocks_nb(0, head, data, status) }.map_err(|why| why.to_string())?;
    let mut faults = Vec::new();
    let answered = bench.wait(|| {
        faults.extend(bench.faults());
        (!faults.is_empty() || disk.peek_used().is_some()).then_some(())
    });
    crate::say!(
        "disk: {}",
        if answered.is_some() { "an answer or a fault" } else { "neither answer nor fault" }
    );
    // The device first: it is reset, and uses nothing any more.
    drop(disk);
    let kept = if slot.memory.iter().all(|byte| *byte == 0x5a) { Ok(()) } else { Err(Why::Reached) };
    checks.check(format!("rogue-not-mapped@disk/{}", bench.function), kept);
    if bench.reports.tables {
        let reported = Bench::reported(faults, &[place]);
        checks.check(format!("rogue-not-mapped-reported@disk/{}", bench.function), reported);
    }
    Disk::shelf().revoke_buffers();
    Disk::shelf().empty().map(drop).map_err(|why| why.to_string())
}
