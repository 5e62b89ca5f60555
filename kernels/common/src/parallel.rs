//! Two CPUs at work at the same time: what the port promises (its lock, its pins), then mappings made and ended and DMA run
//! by both, in one address space and in two.

use crate::{
    checks::Checks,
    cpus,
    lock::Spin,
    nvme::{Controller, Load, Namespace, NvmeError, Queue, Region, Settings},
    platform::Kernel,
    stage::Stage,
};
use alloc::{
    string::{String, ToString as _},
    vec::Vec,
};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use ioward::{
    core::Dma,
    types::{Mutex, Platform as _},
};

/// Bytes that each CPU writes and reads back. Requests are small: the mappings are what is tried.
const BYTES: u64 = 4 << 20;
const SIZES: [usize; 3] = [4 << 10, 8 << 10, 16 << 10];
const DEPTH: u16 = 16;

/// Runs all of it, with two controllers.
pub fn run(stage: &Stage, checks: &mut Checks) -> Result<(), String> {
    if !cpus::both(|| {}, || {}) {
        return Err("there is no second CPU".into());
    }
    numbers(checks);
    lock(checks);
    synchronize(checks);

    let added = stage.add_all()?;
    let functions: Vec<_> = stage.pci.with_class(crate::nvme::CLASS).collect();
    let [one, other] = functions[..] else { return Err("two controllers are needed".into()) };
    let bind = |function| {
        stage.served(function)?;
        stage.pci.bus_master(function, true);
        added.device(function)?.bind().map_err(|why| why.to_string())
    };
    let (one_bound, other_bound) = (bind(one)?, bind(other)?);
    let registers = |function| stage.pci.registers(function, 0).ok_or("a controller without registers");
    let (one_registers, other_registers) = (registers(one)?, registers(other)?);
    let text = |why: NvmeError| why.to_string();
    let mut one = Disk::start(one_bound.dma(), &one_registers, 2).map_err(text)?;
    let mut other = Disk::start(other_bound.dma(), &other_registers, 1).map_err(text)?;

    // Two queues of one controller: one address space, in which both CPUs map and unmap.
    let (dma, namespace) = (one.dma, one.namespace);
    let [first, second] = &mut one.queues[..] else { return Err("two queues are needed".into()) };
    share(
        checks,
        "one-space",
        Part { dma, namespace, queue: first, place: 0 },
        Part { dma, namespace, queue: second, place: 1 },
    );
    // Two controllers: two address spaces, behind one IOMMU, whose queue both CPUs put commands into.
    share(checks, "two-spaces", one.part(), other.part());
    one.controller.stop().map_err(text)?;
    other.controller.stop().map_err(text)
}

/// Each CPU has its number.
fn numbers(checks: &mut Checks) {
    let (mut here, there) = (usize::MAX, AtomicU64::new(u64::MAX));
    cpus::both(|| here = Kernel.pin().1, || there.store(Kernel.pin().1 as u64, Ordering::Release));
    let found = (here, there.load(Ordering::Acquire));
    checks.check("numbers-of-cpus", if found == (0, 1) { Ok(()) } else { Err(found) });
}

/// What one CPU does under the lock the other one sees whole.
fn lock(checks: &mut Checks) {
    const ROUNDS: u64 = 100_000;
    let counter: Mutex<Spin, u64> = Mutex::from_raw(Spin::UNLOCKED, 0);
    let count = || {
        for _ in 0..ROUNDS {
            *counter.lock() += 1;
        }
    };
    cpus::both(count, count);
    let found = *counter.lock();
    checks.check("lock", if found == 2 * ROUNDS { Ok(()) } else { Err(found) });
}

/// `synchronize` waits for the pin that was there when it was called.
fn synchronize(checks: &mut Checks) {
    let (pinned, dropped) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut waited = false;
    cpus::both(
        || {
            while !pinned.load(Ordering::Acquire) {
                core::hint::spin_loop();
            }
            Kernel.synchronize();
            waited = dropped.load(Ordering::Acquire);
        },
        || {
            let pin = Kernel.pin();
            pinned.store(true, Ordering::Release);
            // Long enough for the other CPU to get through if it did not wait.
            for _ in 0..2_000_000 {
                core::hint::spin_loop();
            }
            dropped.store(true, Ordering::Release);
            drop(pin);
        },
    );
    checks.check("synchronize-waits-for-a-pin", if waited { Ok(()) } else { Err("it did not wait") });
}

/// A controller with its queues.
struct Disk<'a> {
    dma: &'a Dma<Kernel>,
    controller: Controller<'a>,
    namespace: Namespace,
    queues: Vec<Queue<'a>>,
}

impl<'a> Disk<'a> {
    fn start(
        dma: &'a Dma<Kernel>,
        registers: &'a ioward::types::MmioPtr,
        queues: usize,
    ) -> Result<Self, NvmeError> {
        let mut controller = Controller::start(dma, registers, Settings::default())?;
        let namespace = controller.namespace(1)?.ok_or(NvmeError::Registers("namespace 1", 0))?;
        let queues = (0..queues).map(|_| controller.queue(DEPTH)).collect::<Result<_, _>>()?;
        Ok(Self { dma, controller, namespace, queues })
    }

    /// The work of one CPU on the first queue.
    fn part(&mut self) -> Part<'a, '_> {
        Part { dma: self.dma, namespace: self.namespace, queue: &mut self.queues[0], place: 2 }
    }
}

/// What one CPU works on.
struct Part<'a, 'q> {
    dma: &'a Dma<Kernel>,
    namespace: Namespace,
    queue: &'q mut Queue<'a>,
    /// Which part of the namespace.
    place: u64,
}

impl Part<'_, '_> {
    fn run(&mut self, seed: u64) -> Result<(), NvmeError> {
        let region = Region { start: self.place * BYTES, bytes: BYTES };
        let mut load = Load::new(self.dma, self.namespace, self.queue, &SIZES, seed)?;
        load.write(region)?;
        load.verify(region)
    }
}

/// Both CPUs write and read back at the same time.
fn share(checks: &mut Checks, name: &str, mut one: Part<'_, '_>, mut other: Part<'_, '_>) {
    let (mut results, mut times) = ((Ok(()), Ok(())), ((0, 0), (0, 0)));
    let now = || Kernel.now().0;
    // Neither begins before the other is there: the host may be slow to let one of them run.
    let arrived = [AtomicBool::new(false), AtomicBool::new(false)];
    let meet = |own: usize| {
        arrived[own].store(true, Ordering::Release);
        cpus::wait(|| arrived[1 - own].load(Ordering::Acquire), "the other CPU does not begin its part");
    };
    {
        let ((here, there), (time_here, time_there)) =
            ((&mut results.0, &mut results.1), (&mut times.0, &mut times.1));
        cpus::both(
            || {
                meet(0);
                let start = now();
                *here = one.run(1);
                *time_here = (start, now());
            },
            || {
                meet(1);
                let start = now();
                *there = other.run(2);
                *time_there = (start, now());
            },
        );
    }
    checks.check(format_args!("{name}@cpu0"), results.0);
    checks.check(format_args!("{name}@cpu1"), results.1);
    let (here, there) = times;
    let together = here.0 < there.1 && there.0 < here.1;
    checks.check(format_args!("{name}-at-the-same-time"), if together { Ok(()) } else { Err(times) });
}
