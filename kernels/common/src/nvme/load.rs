//! Data written and read back through one queue, as many requests at once as it takes. Every request has a buffer that is
//! mapped for it and unmapped when it is done.

use super::{
    Command, Namespace, NvmeError, Queue,
    controller::{LIMIT, PAGE},
    spec::io,
};
use crate::{pattern::Sum, platform::Kernel};
use alloc::{vec, vec::Vec};
use ioward::{
    core::{Coherent, Dma, DmaBuffer as _, FrameBuffer, Mapping},
    types::Direction,
};

/// Bytes of a namespace; start and length are multiples of 4096.
#[derive(Clone, Copy)]
pub struct Region {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub bytes: u64,
}

/// What is under way in a slot.
struct Request<'a> {
    buffer: Mapping<Kernel, FrameBuffer<Kernel>, &'a Dma<Kernel>>,
    at: Region,
}

/// One queue with work for it.
pub struct Load<'a, 'q> {
    dma: &'a Dma<Kernel>,
    namespace: Namespace,
    queue: &'q mut Queue<'a>,
    /// Bytes of requests, one after the other.
    sizes: &'q [usize],
    /// What tells this load's data apart from another's.
    seed: u64,
    slots: Vec<Option<Request<'a>>>,
    /// For each slot, a page for the list of a request's pages.
    lists: Vec<Coherent<Kernel, &'a Dma<Kernel>>>,
    spare: Vec<FrameBuffer<Kernel>>,
    scratch: Vec<u8>,
    /// Requests that have ended.
    pub requests: u64,
}

impl<'a, 'q> Load<'a, 'q> {
    /// `sizes` are multiples of 4096, at most what the controller moves by one command.
    pub fn new(
        dma: &'a Dma<Kernel>,
        namespace: Namespace,
        queue: &'q mut Queue<'a>,
        sizes: &'q [usize],
        seed: u64,
    ) -> Result<Self, NvmeError> {
        let depth = queue.depth();
        let list = |_| Dma::coherent(dma, PAGE, Direction::ToDevice).map_err(NvmeError::from);
        Ok(Self {
            dma,
            namespace,
            queue,
            sizes,
            seed,
            slots: (0..depth).map(|_| None).collect(),
            lists: (0..depth).map(list).collect::<Result<_, _>>()?,
            spare: Vec::new(),
            scratch: vec![0; sizes.iter().copied().max().unwrap_or(0)],
            requests: 0,
        })
    }

    /// Writes the region full of this load's data, tells its sum, and flushes.
    pub fn write(&mut self, region: Region) -> Result<Sum, NvmeError> {
        let mut sum = Sum::default();
        self.run(region, &mut Work::Fill(&mut sum))?;
        let flush = Command { opcode: io::FLUSH, namespace: self.namespace.number, ..Command::default() };
        self.queue.one(&flush, LIMIT)?;
        Ok(sum)
    }

    /// Reads the region and holds every word against what [`Load::write`] wrote.
    pub fn verify(&mut self, region: Region) -> Result<(), NvmeError> {
        self.run(region, &mut Work::Verify)
    }

    /// Moves the region's bytes to or from the device and looks at none: what a measurement wants.
    pub fn touch(&mut self, region: Region, write: bool) -> Result<(), NvmeError> {
        self.run(region, &mut Work::Touch { write })
    }

    /// Instructions that were run while there was nothing to do but wait.
    pub fn polled(&self) -> u64 {
        self.queue.polled
    }

    fn run(&mut self, region: Region, work: &mut Work<'_>) -> Result<(), NvmeError> {
        let (mut next, end, mut turn) = (region.start, region.start + region.bytes, 0);
        let mut free: Vec<u16> = (0..self.slots.len() as u16).collect();
        loop {
            while next < end
                && let Some(id) = free.pop()
            {
                let bytes = (self.sizes[turn % self.sizes.len()] as u64).min(end - next);
                self.begin(id, Region { start: next, bytes }, work)?;
                next += bytes;
                turn += 1;
            }
            if free.len() == self.slots.len() {
                return Ok(());
            }
            let ended = self.queue.wait(LIMIT)?;
            let slot = self.slots.get_mut(usize::from(ended.id));
            let request = slot.and_then(Option::take).ok_or(NvmeError::NotAsked(ended.id))?;
            ended.success()?;
            self.end(request, work)?;
            free.push(ended.id);
        }
    }

    /// Maps a buffer for the request, and gives it to the controller.
    fn begin(&mut self, id: u16, at: Region, work: &mut Work<'_>) -> Result<(), NvmeError> {
        let bytes = at.bytes as usize;
        let mut buffer = match self.spare.iter().position(|buffer| buffer.span().bytes == at.bytes) {
            Some(place) => self.spare.swap_remove(place),
            None => FrameBuffer::new(&Kernel, bytes, PAGE)?,
        };
        let write = match work {
            Work::Fill(sum) => {
                for (index, word) in self.scratch[..bytes].chunks_exact_mut(8).enumerate() {
                    word.copy_from_slice(&value(self.seed, at.start + 8 * index as u64).to_le_bytes());
                }
                sum.add(&self.scratch[..bytes]);
                buffer.write(0, &self.scratch[..bytes]);
                true
            }
            Work::Verify => false,
            Work::Touch { write } => *write,
        };
        let direction = if write { Direction::ToDevice } else { Direction::FromDevice };
        let buffer = Dma::map(self.dma, buffer, direction).map_err(|(why, _)| why)?;
        // The first page; then none, the second one, or a list of all that follow the first.
        let page = |index: usize| buffer.iova().0 + (index * PAGE) as u64;
        let second = match bytes.div_ceil(PAGE) {
            ..=1 => 0,
            2 => page(1),
            pages => {
                let list = &self.lists[usize::from(id)];
                (1..pages).try_for_each(|index| list.store(8 * (index - 1), page(index)))?;
                list.iova().0
            }
        };
        let (block, blocks) = (at.start / self.namespace.block_bytes, at.bytes / self.namespace.block_bytes);
        let command = Command {
            opcode: if write { io::WRITE } else { io::READ },
            namespace: self.namespace.number,
            prp: [page(0), second],
            words: [block as u32, (block >> 32) as u32, blocks as u32 - 1],
        };
        self.queue.submit(id, &command)?;
        self.slots[usize::from(id)] = Some(Request { buffer, at });
        Ok(())
    }

    /// Takes the buffer back; from here on the device does not reach it.
    fn end(&mut self, request: Request<'a>, work: &mut Work<'_>) -> Result<(), NvmeError> {
        let buffer = request.buffer.unmap()?;
        if let Work::Verify = work {
            let bytes = &mut self.scratch[..request.at.bytes as usize];
            buffer.read(0, bytes);
            for (index, word) in bytes.chunks_exact(8).enumerate() {
                let at = request.at.start + 8 * index as u64;
                if word != value(self.seed, at).to_le_bytes() {
                    return Err(NvmeError::Differs(at));
                }
            }
        }
        self.spare.push(buffer);
        self.requests += 1;
        Ok(())
    }
}

/// What is done with the bytes.
enum Work<'w> {
    /// They are written, and summed up.
    Fill(&'w mut Sum),
    /// They are read, and must be what was written.
    Verify,
    /// They are moved as they are.
    Touch { write: bool },
}

/// The word at byte `at`.
fn value(seed: u64, at: u64) -> u64 {
    (at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
