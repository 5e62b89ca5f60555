//! A controller from reset to I/O queues, and its namespaces.

use super::{
    NvmeError,
    queue::{Command, Queue},
    spec::{admin, regs},
};
use crate::platform::Kernel;
use ioward::{
    core::{Dma, FrameBuffer},
    types::{Direction, Iova, Mmio as _, MmioPtr, Nanos, Platform as _},
};

/// Bytes of a page, as CC sets it: 4 KiB.
pub const PAGE: usize = 4096;
/// How long one command may take.
pub const LIMIT: Nanos = Nanos(30_000_000_000);
/// Entries of the admin queues: one command is under way at a time.
const ADMIN_ENTRIES: u16 = 16;

/// How a controller is started.
#[derive(Clone, Copy, Default)]
pub struct Settings {
    /// The controller is told that its admin submission queue is here, whatever is mapped there: what a broken driver would
    /// do. None: where it is.
    pub admin_at: Option<Iova>,
}

/// A controller that has been started.
pub struct Controller<'a> {
    dma: &'a Dma<Kernel>,
    registers: &'a MmioPtr,
    admin: Queue<'a>,
    stride: usize,
    most_entries: u16,
    /// The most bytes that one command may move, as far as this driver goes: its lists have one page.
    pub most_bytes: usize,
    queues: u16,
}

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its number, from 1 on.
    pub number: u32,
    /// Its size in logical blocks.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_bytes: u64,
}

impl<'a> Controller<'a> {
    /// Resets the controller behind `registers`, gives it admin queues, and starts it (Base, 3.5.1).
    pub fn start(
        dma: &'a Dma<Kernel>,
        registers: &'a MmioPtr,
        settings: Settings,
    ) -> Result<Self, NvmeError> {
        let capabilities = registers.read64(regs::CAP);
        if capabilities == u64::MAX || capabilities & 0xffff == 0 {
            return Err(NvmeError::Registers("CAP", capabilities));
        }
        let smallest_page = 12 + (capabilities >> 48 & 0xf);
        if smallest_page > 12 {
            return Err(NvmeError::Registers("CAP.MPSMIN: no pages of 4 KiB; CAP", capabilities));
        }
        // CAP.TO, in half seconds: how long CSTS.RDY may take to follow CC.EN.
        let patience = Nanos((capabilities >> 24 & 0xff).max(1) * 500_000_000);
        registers.write32(regs::CC, 0);
        ready(registers, false, patience)?;
        let stride = 4 << (capabilities >> 32 & 0xf);
        let admin = Queue::new(dma, registers, 0, ADMIN_ENTRIES, stride)?;
        let [submissions, completions] = admin.bases();
        let size = u32::from(ADMIN_ENTRIES - 1);
        registers.write32(regs::AQA, size | size << 16);
        registers.write64(regs::ASQ, settings.admin_at.unwrap_or(submissions).0);
        registers.write64(regs::ACQ, completions.0);
        registers.write32(regs::CC, regs::CC_EN | regs::CC_ENTRIES);
        ready(registers, true, patience)?;
        let most_entries = ((capabilities & 0xffff) + 1).min(1024) as u16;
        let mut controller =
            Self { dma, registers, admin, stride, most_entries, most_bytes: PAGE, queues: 0 };
        // Identify Controller, byte 77: MDTS, a power of two of pages; 0 means no limit (Base, figure 275).
        let [transfer, _] = controller.identify(0, admin::CNS_CONTROLLER, [77, 0])?;
        let pages = match transfer as u8 {
            0 => usize::MAX,
            shift => 1_usize.checked_shl(shift.into()).unwrap_or(usize::MAX),
        };
        // The first page, and a list of one page.
        controller.most_bytes = pages.min(PAGE / 8) * PAGE;
        Ok(controller)
    }

    /// Reads two words of 64 bits out of an Identify structure.
    fn identify(&mut self, namespace: u32, what: u32, at: [usize; 2]) -> Result<[u64; 2], NvmeError> {
        let buffer = FrameBuffer::new(&Kernel, PAGE, PAGE)?;
        let buffer = Dma::map(self.dma, buffer, Direction::FromDevice).map_err(|(why, _)| why)?;
        let command =
            Command { opcode: admin::IDENTIFY, namespace, prp: [buffer.iova().0, 0], words: [what, 0, 0] };
        self.admin.one(&command, LIMIT)?;
        let buffer = buffer.unmap()?;
        Ok(at.map(|at| {
            let mut bytes = [0; 8];
            buffer.read(at, &mut bytes);
            u64::from_le_bytes(bytes)
        }))
    }

    /// A namespace that is there; none for one that is not (its size is zero).
    pub fn namespace(&mut self, number: u32) -> Result<Option<Namespace>, NvmeError> {
        // Bytes 0 to 7: NSZE; byte 26: FLBAS, whose lower half is the format in use; from byte 128 on: the formats, whose
        // third byte is the power of two of a block's size (NVM, figure 97).
        let [blocks, formatted] = self.identify(number, admin::CNS_NAMESPACE, [0, 26])?;
        let format = 128 + 4 * (formatted & 0xf) as usize;
        let [format, _] = self.identify(number, admin::CNS_NAMESPACE, [format, 0])?;
        let shift = format >> 16 & 0xff;
        if blocks == 0 {
            return Ok(None);
        }
        if !(9..=12).contains(&shift) {
            return Err(NvmeError::Registers("the size of a block, as a power of two,", shift));
        }
        Ok(Some(Namespace { number, blocks, block_bytes: 1 << shift }))
    }

    /// One more I/O queue, in which `depth` commands can be under way, or as many as the controller can have.
    pub fn queue(&mut self, depth: u16) -> Result<Queue<'a>, NvmeError> {
        let number = self.queues + 1;
        let entries = depth.saturating_add(1).clamp(2, self.most_entries);
        let queue = Queue::new(self.dma, self.registers, number, entries, self.stride)?;
        let [submissions, completions] = queue.bases();
        let size = u32::from(number) | u32::from(entries - 1) << 16;
        let create = |opcode, base: Iova, how| Command {
            opcode,
            namespace: 0,
            prp: [base.0, 0],
            words: [size, how, 0],
        };
        // The submission queue names the completion queue of the same number in its upper half. No interrupts.
        self.admin.one(&create(admin::CREATE_CQ, completions, admin::CONTIGUOUS), LIMIT)?;
        let how = admin::CONTIGUOUS | u32::from(number) << 16;
        self.admin.one(&create(admin::CREATE_SQ, submissions, how), LIMIT)?;
        self.queues = number;
        Ok(queue)
    }

    /// Stops it: from then on it reaches no queue.
    pub fn stop(self) -> Result<(), NvmeError> {
        self.registers.write32(regs::CC, 0);
        ready(self.registers, false, LIMIT)
    }
}

/// Waits for CSTS.RDY.
fn ready(registers: &MmioPtr, ready: bool, patience: Nanos) -> Result<(), NvmeError> {
    let start = Kernel.now().0;
    loop {
        let status = registers.read32(regs::CSTS);
        if status == u32::MAX {
            return Err(NvmeError::Registers("CSTS", status.into()));
        }
        if (status & regs::CSTS_RDY != 0) == ready {
            return Ok(());
        }
        if ready && status & regs::CSTS_CFS != 0 {
            return Err(NvmeError::Fatal);
        }
        if Kernel.now().0 - start > patience.0 {
            return Err(NvmeError::Hung(if ready { "its start" } else { "its reset" }));
        }
        Kernel.relax();
    }
}
