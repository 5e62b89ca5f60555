//! The checks: data written and read back on two queues, then what a controller must not reach.

use super::{
    Command, Controller, Load, Namespace, NvmeError, Queue, Region, Settings, controller::LIMIT, spec,
};
use crate::{
    checks::Checks,
    platform::Kernel,
    say,
    script::{Page, Reports, Why},
    stage::{Added, Stage},
    system::{faults, settle},
};
use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use ioward::{
    core::{
        Bound, Dma, FrameBuffer, Mapping,
        driver::{Access, Fault},
    },
    pci::Bdf,
    types::{Direction, Iova, MmioPtr, Span},
};

/// MiB that are written and read back where no word `mib=N` says otherwise.
const MIB: u64 = 256;
/// Commands under way at a time in each of the two queues.
const DEPTH: u16 = 32;
/// One page, two pages, and more than two: each is described to the controller in another way.
const SIZES: [usize; 4] = [128 << 10, 4 << 10, 64 << 10, 8 << 10];
/// Bytes of what must not be reached.
const PAGE: usize = 4096;

/// Runs all of it on every controller of the machine.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    let added = stage.add_all()?;
    let functions: Vec<Bdf> = stage.pci.with_class(spec::CLASS).collect();
    if functions.is_empty() {
        return Err("no NVM Express controller is there".into());
    }
    for function in functions {
        stage.served(function)?;
        let bound = added.device(function)?.bind().map_err(|why| why.to_string())?;
        let registers = stage.pci.registers(function, 0).ok_or("a controller without registers")?;
        stage.pci.bus_master(function, true);
        let disk = Disk { stage, added: &added, bound: &bound, dma: bound.dma(), function };
        disk.queue_base(checks, &registers);
        let started = Controller::start(bound.dma(), &registers, Settings::default());
        let mut controller = match started {
            Ok(controller) => controller,
            Err(why) => {
                checks.check(format_args!("start@{function}"), Err::<(), _>(why));
                continue;
            }
        };
        let done = disk.run(checks, &mut controller);
        checks.check(format_args!("stop@{function}"), done.and(controller.stop()));
    }
    Ok(())
}

/// One controller's device.
struct Disk<'a> {
    stage: &'a Stage,
    added: &'a Added,
    bound: &'a Bound<Kernel>,
    dma: &'a Dma<Kernel>,
    function: Bdf,
}

impl<'a> Disk<'a> {
    fn run(&self, checks: &mut Checks, controller: &mut Controller<'a>) -> Result<(), NvmeError> {
        let namespace = controller.namespace(1)?.ok_or(NvmeError::Registers("namespace 1", 0))?;
        checks.check(format_args!("identify@{}", self.function), Ok::<(), NvmeError>(()));
        let mut queues = [controller.queue(DEPTH)?, controller.queue(DEPTH)?];
        self.load(checks, namespace, controller.most_bytes, &mut queues);
        Rogue { disk: self, namespace, queue: &mut queues[0] }.run(checks);
        Ok(())
    }

    /// The controller is told that its admin submission queue is in a page that is not mapped for it. There is a command
    /// there, which it would carry out if it could read it: it must stop instead, and its driver must say so.
    fn queue_base(&self, checks: &mut Checks, registers: &MmioPtr) {
        let Self { stage, added, bound, function, .. } = self;
        let (queue, target) = (Page::zeroed(), Page::zeroed());
        // Identify Controller: opcode, the first page of the data, CNS.
        let words = [
            (0, spec::admin::IDENTIFY.into()),
            (24, target.iova().0),
            (40, spec::admin::CNS_CONTROLLER.into()),
        ];
        words.into_iter().for_each(|(at, word)| queue.write64(at, word));
        let _ = faults(&added.subsystem, &stage.drivers, bound.id());
        let settings = Settings { admin_at: Some(queue.iova()) };
        let result = match Controller::start(self.dma, registers, settings) {
            Ok(_) => Err(Why::Reached),
            Err(why @ NvmeError::Fatal) => {
                say!("refused {why}");
                Ok(())
            }
            Err(other) => Err(Why::Mapping(other.to_string())),
        };
        checks.check(format_args!("rogue-queue-base@{function}"), result);
        let faults = faults(&added.subsystem, &stage.drivers, bound.id());
        self.reported(checks, "queue-base", Access::Read, queue.iova(), faults);
    }

    /// Holds what was reported against an attempt at the page from `at` on.
    fn reported(&self, checks: &mut Checks, name: &str, access: Access, at: Iova, faults: Vec<Fault>) {
        if !Reports::of(&self.stage.drivers).tables {
            return;
        }
        let page = Span { start: at, bytes: PAGE as u64 };
        let right = |fault: &Fault| {
            fault.at.is_some_and(|at| page.contains(at)) && fault.access.is_none_or(|how| how == access)
        };
        let result = if faults.iter().any(right) { Ok(()) } else { Err(Why::NotReported(faults)) };
        checks.check(format_args!("rogue-{name}-reported@{}", self.function), result);
    }

    /// Each queue writes and reads a half of its own; then each reads what the other wrote.
    fn load(&self, checks: &mut Checks, namespace: Namespace, most: usize, queues: &mut [Queue<'a>; 2]) {
        let said = self.stage.line.split(' ').find_map(|word| word.strip_prefix("mib=")?.parse().ok());
        // Translation or not, the work is the same: the control does a little of it.
        let mib: u64 = if self.stage.bypass { 2 } else { said.unwrap_or(MIB) };
        let bytes = (mib << 20).min(namespace.blocks * namespace.block_bytes) / 2;
        let halves = [Region { start: 0, bytes }, Region { start: bytes, bytes }];
        let sizes = SIZES.map(|size| size.min(most));
        let mut requests = 0;
        for (index, (queue, half)) in queues.iter_mut().zip(halves).enumerate() {
            let mut write = || {
                let mut load = Load::new(self.dma, namespace, queue, &sizes, 0)?;
                let sum = load.write(half)?;
                say!("image disk0 {} {} {:#x}", half.start, half.bytes, sum.value());
                requests += load.requests;
                Ok::<(), NvmeError>(())
            };
            checks.check(format_args!("write@queue{index}/{}", self.function), write());
        }
        for (index, (queue, half)) in queues.iter_mut().zip(halves.into_iter().rev()).enumerate() {
            let mut verify = || {
                let mut load = Load::new(self.dma, namespace, queue, &sizes, 0)?;
                load.verify(half)?;
                requests += load.requests;
                Ok::<(), NvmeError>(())
            };
            checks.check(format_args!("read-back@queue{index}/{}", self.function), verify());
        }
        say!("moved {} MiB in {requests} requests, each mapped and unmapped", (bytes * 4) >> 20);
    }
}

/// What the controller is told to do and must not.
struct Rogue<'d, 'q, 'a> {
    disk: &'d Disk<'a>,
    namespace: Namespace,
    queue: &'q mut Queue<'a>,
}

impl<'a> Rogue<'_, '_, 'a> {
    fn run(&mut self, checks: &mut Checks) {
        self.one(checks, "not-mapped", Access::Write, Self::read_to_not_mapped);
        self.one(checks, "read-only", Access::Write, Self::read_to_read_only);
        self.one(checks, "use-after-unmap", Access::Write, Self::after_unmap);
        self.one(checks, "secret-not-mapped", Access::Read, Self::secret);
    }

    fn one(&mut self, checks: &mut Checks, name: &str, access: Access, attempt: fn(&mut Self) -> Attempt) {
        let Disk { stage, added, bound, function, .. } = self.disk;
        let poll = || faults(&added.subsystem, &stage.drivers, bound.id());
        settle();
        let _ = poll();
        let (at, result) = attempt(self).unwrap_or_else(|why| (Iova(0), Err(Why::Mapping(why))));
        let faults = poll();
        checks.check(format_args!("rogue-{name}@{function}"), result);
        self.disk.reported(checks, name, access, at, faults);
    }

    /// The last page of the namespace, which the load leaves alone, read to or written from `at`.
    fn transfer(&mut self, opcode: u8, at: Iova) -> Result<(), NvmeError> {
        let blocks = PAGE as u64 / self.namespace.block_bytes;
        let block = self.namespace.blocks - blocks;
        let command = Command {
            opcode,
            namespace: self.namespace.number,
            prp: [at.0, 0],
            words: [block as u32, (block >> 32) as u32, blocks as u32 - 1],
        };
        self.queue.one(&command, LIMIT)
    }

    /// A page that is mapped for the controller.
    fn mapped(&self, seed: u8, direction: Direction) -> Result<Buffer<'a>, String> {
        let mut buffer = FrameBuffer::new(&Kernel, PAGE, PAGE).map_err(|why| why.to_string())?;
        buffer.write(0, &[seed; PAGE]);
        Dma::map(self.disk.dma, buffer, direction).map_err(|(why, _)| why.to_string())
    }

    fn read_to_not_mapped(&mut self) -> Attempt {
        let victim = Page::new(0x21);
        let at = victim.iova();
        let result = self.transfer(spec::io::READ, at);
        Ok((at, refused(result, victim.holds(0x21))))
    }

    fn read_to_read_only(&mut self) -> Attempt {
        let victim = self.mapped(0x22, Direction::ToDevice)?;
        let at = victim.iova();
        let result = self.transfer(spec::io::READ, at);
        let victim = victim.unmap().map_err(|hung| hung.to_string())?;
        Ok((at, refused(result, holds(&victim, 0x22))))
    }

    /// First the mapping works, so that whatever caches translations has it; then it is gone.
    fn after_unmap(&mut self) -> Attempt {
        let victim = self.mapped(0x23, Direction::FromDevice)?;
        let at = victim.iova();
        self.transfer(spec::io::READ, at).map_err(|why| why.to_string())?;
        let mut victim = victim.unmap().map_err(|hung| hung.to_string())?;
        if holds(&victim, 0x23) {
            return Ok((at, Err(Why::NotArrived)));
        }
        victim.write(0, &[0x23; PAGE]);
        let result = self.transfer(spec::io::READ, at);
        Ok((at, refused(result, holds(&victim, 0x23))))
    }

    /// The controller is to write a page to the namespace that it may not read; then the namespace is looked at.
    fn secret(&mut self) -> Attempt {
        let secret = Page::new(0x24);
        let at = secret.iova();
        let result = self.transfer(spec::io::WRITE, at);
        let mailbox = self.mapped(0, Direction::FromDevice)?;
        self.transfer(spec::io::READ, mailbox.iova()).map_err(|why| why.to_string())?;
        let mailbox = mailbox.unmap().map_err(|hung| hung.to_string())?;
        let (mut there, mut secret_bytes) = ([0; 64], [0; 64]);
        mailbox.read(0, &mut there);
        secret.first(&mut secret_bytes);
        Ok((at, refused(result, there != secret_bytes)))
    }
}

/// A page as the controller has it.
type Buffer<'a> = Mapping<Kernel, FrameBuffer<Kernel>, &'a Dma<Kernel>>;
/// Where the controller was sent, and whether it was kept from it; or what did not work before it was sent.
type Attempt = Result<(Iova, Result<(), Why>), String>;

/// Memory that must be as it was. What the controller says of the command is its own affair: QEMU's says that all went well.
fn refused(result: Result<(), NvmeError>, kept: bool) -> Result<(), Why> {
    match result {
        _ if !kept => Err(Why::Reached),
        Ok(()) | Err(NvmeError::Status(..)) => Ok(()),
        Err(other) => Err(Why::Mapping(other.to_string())),
    }
}

/// Whether a page that was filled with `seed` still is.
fn holds(buffer: &FrameBuffer<Kernel>, seed: u8) -> bool {
    let mut bytes = [0; PAGE];
    buffer.read(0, &mut bytes) && bytes == [seed; PAGE]
}
