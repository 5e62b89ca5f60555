//! A buffer that shares its page with others: a device that is given it reads and writes the whole page around it, and
//! neither sees nor changes a byte of the neighbours.

use crate::{checks::Checks, edu::Edu, platform::Kernel, script::Why};
use alloc::{format, string::ToString as _, vec, vec::Vec};
use core::{ops::Range, ptr::NonNull};
use ioward::{
    core::{Dma, DmaBuffer as _, FrameBuffer, MapError, RawBytes},
    types::{Direction, Iova, PhysAddr, Platform as _},
};

const PAGE: usize = crate::script::PAGE as usize;
/// Where in its page the buffer is.
const OWN: Range<usize> = 1000..1096;
/// What it holds, what its neighbours hold, and what the device writes.
const GIVEN: u8 = 0x11;
const SECRET: u8 = 0xa5;
const WRITTEN: u8 = 0x3c;

/// Runs it on one DMA engine.
pub fn run(checks: &mut Checks, edu: &Edu, dma: &Dma<Kernel>) {
    let name = |what| format!("{what}@dma/{}", edu.function);
    let (seen, now) = match share(edu, dma) {
        Ok(pages) => pages,
        Err(why) => return checks.check(name("part-of-a-page"), Err(why)),
    };
    let all = |bytes: &[u8], value| bytes.iter().all(|byte| *byte == value);
    let arrived = all(&seen[OWN], GIVEN) && all(&now[OWN], WRITTEN);
    checks.check(name("part-of-a-page"), if arrived { Ok(()) } else { Err(Why::NotArrived) });
    let around = |page: &[u8], value| all(&page[..OWN.start], value) && all(&page[OWN.end..], value);
    let unless = |hidden| if hidden { Ok(()) } else { Err(Why::Reached) };
    // What keeps neighbours out is that they are not in the bounce frame, with translation and without: there is no control.
    checks.check(name("neighbour-not-seen"), unless(around(&seen, 0)));
    checks.check(name("neighbour-not-changed"), unless(around(&now, SECRET)));
}

fn page(holds: u8) -> Result<FrameBuffer<Kernel>, Why> {
    let mut page = FrameBuffer::new(&Kernel, PAGE, PAGE).map_err(|why| why.to_string())?;
    page.write(0, &[holds; PAGE]);
    Ok(page)
}

fn bytes(page: &FrameBuffer<Kernel>) -> Vec<u8> {
    let mut bytes = vec![0; PAGE];
    page.read(0, &mut bytes);
    bytes
}

/// What the device sees of the page around the buffer, and what the page holds when the device has written all of it.
fn share(edu: &Edu, dma: &Dma<Kernel>) -> Result<(Vec<u8>, Vec<u8>), Why> {
    let text = |why: MapError| Why::Mapping(why.to_string());
    let mut shared = page(SECRET)?;
    shared.write(OWN.start, &[GIVEN; OWN.end - OWN.start]);
    let start = PhysAddr(shared.span().start.0 + OWN.start as u64);
    let own = NonNull::slice_from_raw_parts(Kernel.virt(start), OWN.end - OWN.start);
    // SAFETY: nothing refers to the bytes, and the page is dropped after the mapping.
    let own = unsafe { RawBytes::new(own) };
    let own = Dma::map_bytes(dma, own, Direction::Both).map_err(|(why, _)| text(why))?;
    let around = Iova(own.iova().0 & !(PAGE as u64 - 1));

    let mailbox = Dma::map(dma, page(0xff)?, Direction::FromDevice).map_err(|(why, _)| text(why))?;
    edu.fetch(&Kernel, around, PAGE as u64)?;
    edu.store(&Kernel, mailbox.iova(), PAGE as u64)?;
    let seen = bytes(&mailbox.unmap().map_err(|hung| hung.to_string())?);

    let source = Dma::map(dma, page(WRITTEN)?, Direction::ToDevice).map_err(|(why, _)| text(why))?;
    edu.fetch(&Kernel, source.iova(), PAGE as u64)?;
    edu.store(&Kernel, around, PAGE as u64)?;
    own.unmap().map_err(|hung| hung.to_string())?;
    Ok((seen, bytes(&shared)))
}
