//! What a whole mapping costs where invalidations go through a queue: `cargo xtask bench`, or
//! `cargo bench -p ioward-bench-plugin --bench queues`.
//!
//! Real drivers over models, which execute what is queued when they are told of it, on the CPU that tells them. So a figure
//! holds the model's work, which hardware would do beside the CPU. "Free" is an IOMMU whose flush returns at once.
//!
//! Each line is what is measured, the IOMMU, the number of threads, and nanoseconds for a map and an unmap of one of them,
//! with tabs between. An operation's time is that of a batch of which the median of several counts.

use ioward_bench_plugin::{
    dma::Nowhere,
    platform::{Spin, cpu},
    sink::{FOUR_LEVELS, Sink},
};
use ioward_core::{Bound, Device, DeviceDesc, Dma, FlushMode, Policy, Reserved, Subsystem, driver::Driver};
use ioward_drivers::{amdvi, riscv, smmuv3, virtio, vtd};
use ioward_models::{
    Memory, SimPlatform, Violations,
    amdvi::{AmdViConfig, AmdViModel},
    riscv::RiscvIommu,
    smmuv3::Smmu,
    virtio::{VirtioIommuConfig, VirtioIommuModel},
    vtd::{VtdConfig, VtdModel},
};
use ioward_types::{
    Direction, IommuId, Mmio, Nanos, OutOfMemory, PhysAddr, Platform, SourceId, Span, control::Uncontrolled,
    describe,
};
use std::{
    hint::black_box,
    ptr::NonNull,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What is mapped: no memory of the machine's, and no device looks.
const BUFFER: PhysAddr = PhysAddr(0x30_0000_1000);
const SIZES: [(u64, &str); 2] = [(0x1000, "4 KiB"), (0x1_0000, "64 KiB")];
/// The machine's memory, for tables and queues.
const MEMORY: PhysAddr = PhysAddr(0x8000_0000);
const MEMORY_BYTES: u64 = 128 << 20;
const ID: IommuId = IommuId(0);
/// The first device's; the second's follows.
const FIRST_SOURCE: u32 = 8;
/// How many operations a batch has.
const BATCH: usize = 512;
/// How many batches there are at most, and at least; the more, if they take no longer than this together.
const BATCHES: usize = 15;
const FEWEST: usize = 5;
const LONGEST: Duration = Duration::from_millis(100);
/// A ring has so many slots, which are linked and unlinked by runs of so many.
const SLOTS: usize = 256;
const RUN: usize = 16;

fn main() {
    // Without it, this is a run of tests, which never measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for (mode, name) in [(Mode::Strict, "strict"), (Mode::Lazy, "lazy"), (Mode::Ring, "ring, runs of 16")] {
        for (bytes, size) in SIZES {
            for (threads, together, where_) in
                [(1, true, ""), (2, true, ", one address space"), (2, false, ", each its own")]
            {
                for (iommu, driver) in IOMMUS {
                    let machine = Machine::new(driver, mode, threads, together);
                    let cost = machine.measure(mode, bytes);
                    println!("{name}, {size}{where_}\t{iommu}\t{threads}\t{cost:.1}");
                }
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Strict,
    Lazy,
    Ring,
}

impl Mode {
    fn flush(self) -> FlushMode {
        if self == Self::Lazy { FlushMode::Lazy } else { FlushMode::Strict }
    }
}

/// The simulated machine's frames, with a kernel's stores, locks, clock and pins: nobody is told of a store, and a pin is free.
#[derive(Clone)]
struct Plain {
    machine: SimPlatform,
    /// From physical addresses to pointers.
    offset: u64,
    began: Instant,
}

impl Plain {
    fn new(memory: &Memory) -> Self {
        let machine = SimPlatform::new(memory.clone());
        let start = machine.virt(MEMORY);
        Self { machine, offset: (start.as_ptr() as u64).wrapping_sub(MEMORY.0), began: Instant::now() }
    }
}

// SAFETY: frames are the simulated machine's, which hands each out once, zeroed, and whose hardware sees every store at once;
// each thread that maps has a CPU number of its own. `synchronize` is called by nobody while another thread is at work.
unsafe impl Platform for Plain {
    type Lock = Spin;
    type Pin = ();

    #[inline(always)]
    fn pin(&self) -> ((), usize) {
        ((), cpu::number())
    }
    fn cpus(&self) -> usize {
        2
    }
    fn synchronize(&self) {}
    fn frames(&self, bytes: usize, align: usize, below: PhysAddr) -> Result<PhysAddr, OutOfMemory> {
        self.machine.frames(bytes, align, below)
    }
    unsafe fn free(&self, at: PhysAddr, bytes: usize) {
        // SAFETY: as promised by the caller; they came from `frames`.
        unsafe { self.machine.free(at, bytes) }
    }
    #[inline(always)]
    fn virt(&self, at: PhysAddr) -> NonNull<u8> {
        let at = at.0.wrapping_add(self.offset) as *mut u8;
        // SAFETY: all of the machine's memory follows its first byte, and none of it is at zero.
        unsafe { NonNull::new_unchecked(at) }
    }
    fn clean(&self, _: Span<PhysAddr>) {}
    fn now(&self) -> Nanos {
        Nanos(self.began.elapsed().as_nanos() as u64)
    }
}

/// A model's registers.
struct Registers<M>(Arc<M>);

impl<M: Mmio> Mmio for Registers<M> {
    fn read8(&self, at: usize) -> u8 {
        self.0.read8(at)
    }
    fn read16(&self, at: usize) -> u16 {
        self.0.read16(at)
    }
    fn read32(&self, at: usize) -> u32 {
        self.0.read32(at)
    }
    fn read64(&self, at: usize) -> u64 {
        self.0.read64(at)
    }
    fn write8(&self, at: usize, value: u8) {
        self.0.write8(at, value);
    }
    fn write16(&self, at: usize, value: u16) {
        self.0.write16(at, value);
    }
    fn write32(&self, at: usize, value: u32) {
        self.0.write32(at, value);
    }
    fn write64(&self, at: usize, value: u64) {
        self.0.write64(at, value);
    }
}

type Start = fn(Memory, &Plain) -> Arc<dyn Driver>;

/// Every IOMMU with what its model has if it is told nothing, and its driver.
const IOMMUS: [(&str, Start); 6] = [
    ("free", |_, _| Arc::new(Sink(FOUR_LEVELS))),
    ("SMMUv3", |memory, platform| {
        let registers = Registers(Smmu::new("smmu", Default::default(), memory));
        let config = smmuv3::Config::default();
        let cold = smmuv3::BringUp::Cold;
        Arc::new(smmuv3::SmmuV3::bring_up(ID, registers, &config, platform, cold).expect("a sound model"))
    }),
    ("AMD-Vi", |memory, platform| {
        let registers = Registers(Arc::new(AmdViModel::new(AmdViConfig::default(), memory)));
        let mut config = amdvi::Config::new(describe::AmdVi::default(), 0xff);
        config.capability_header = Some(registers.0.config().capability()[0]);
        config.coherent = true;
        let cold = amdvi::BringUp::Cold;
        Arc::new(amdvi::AmdVi::bring_up(ID, registers, config, platform, cold).expect("a sound model"))
    }),
    ("VT-d", |memory, platform| {
        let registers = Registers(Arc::new(VtdModel::new(VtdConfig::default(), memory)));
        let config = vtd::Config::new(describe::VtD::default());
        let cold = vtd::BringUp::Cold;
        Arc::new(vtd::VtD::bring_up(ID, registers, config, platform, cold).expect("a sound model"))
    }),
    ("RISC-V", |memory, platform| {
        let registers = Registers(RiscvIommu::new("riscv", Default::default(), memory));
        let config = riscv::Config { last_source: 0xff, ..Default::default() };
        let cold = riscv::BringUp::Cold;
        Arc::new(riscv::RiscVIommu::bring_up(ID, registers, &config, platform, cold).expect("a sound model"))
    }),
    ("virtio", |memory, platform| {
        let model = VirtioIommuModel::new(VirtioIommuConfig::default(), memory);
        let transport = virtio::VirtioMmio::new(Registers(Arc::new(model))).expect("it is a virtio device");
        let config = virtio::Config::default();
        Arc::new(virtio::VirtioIommu::bring_up(ID, transport, config, platform).expect("a sound model"))
    }),
];

/// A device for each thread, behind one IOMMU.
struct Machine {
    ends: Vec<(Bound<Plain>, Device<Plain>)>,
    violations: Violations,
}

impl Machine {
    /// `together`: the devices are of one group, and so of one address space.
    fn new(start: Start, mode: Mode, devices: u32, together: bool) -> Self {
        cpu::set_if_none();
        let violations = Violations::default();
        let memory = Memory::new(MEMORY, MEMORY_BYTES, violations.clone());
        let platform = Plain::new(&memory);
        let policy = Policy { flush: mode.flush(), ..Policy::default() };
        let subsystem = Subsystem::with_policy(platform.clone(), policy);
        subsystem.register(start(memory, &platform)).expect("it refuses nothing");
        let sources: Vec<_> = (0..devices).map(|n| (ID, SourceId(FIRST_SOURCE + n))).collect();
        let add = |source: &_| {
            let source = std::slice::from_ref(source);
            let desc = DeviceDesc::new("device", source, Arc::new(Uncontrolled));
            let device =
                subsystem.add(&DeviceDesc { joins: if together { &sources } else { source }, ..desc });
            let bound = device.bind().expect("it is served");
            assert_eq!(bound.dma().flush_mode(), mode.flush());
            (bound, device)
        };
        Self { ends: sources.iter().map(add).collect(), violations }
    }

    /// Nanoseconds for an operation of a thread, while as many threads as there are devices do the same.
    fn measure(&self, mode: Mode, bytes: u64) -> f64 {
        let threads = self.ends.len();
        let (ready, done, enough) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        let times = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for (number, (bound, _)) in self.ends.iter().enumerate() {
                let (ready, done, enough, times) = (&ready, &done, &enough, &times);
                scope.spawn(move || {
                    cpu::set(number);
                    let mut work = work(bound.dma(), mode, bytes);
                    work();
                    let first = Instant::now();
                    for batch in 1..=BATCHES {
                        ready.fetch_add(1, Ordering::AcqRel);
                        while ready.load(Ordering::Acquire) < batch * threads {
                            thread::yield_now();
                        }
                        let begin = Instant::now();
                        work();
                        let time = begin.elapsed().as_nanos() as f64 / BATCH as f64;
                        times.lock().expect("nobody panics with it").push(time);
                        if batch >= FEWEST && first.elapsed() > LONGEST {
                            enough.store(true, Ordering::Relaxed);
                        }
                        done.fetch_add(1, Ordering::AcqRel);
                        // Whoever is first goes on, so that the other is not alone at its end.
                        while done.load(Ordering::Acquire) < batch * threads {
                            work();
                        }
                        // Said before the batch was done by all, so all find the same.
                        if enough.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
        });
        let flushes: u64 = self.ends.iter().map(|(bound, _)| bound.dma().stats().flushes).sum();
        assert!(flushes > 0, "no flush was measured");
        // What a model objects to is not worth measuring.
        self.violations.assert_none();
        let mut times = times.into_inner().expect("nobody panics with it");
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }
}

/// A batch of operations, again and again.
fn work<'a>(dma: &'a Dma<Plain>, mode: Mode, bytes: u64) -> Box<dyn FnMut() + 'a> {
    let buffer = move || black_box(Nowhere(Span { start: BUFFER, bytes }));
    if mode != Mode::Ring {
        return Box::new(move || {
            for _ in 0..BATCH {
                let mapping = Dma::map(dma, buffer(), Direction::Both).expect("it is mapped");
                black_box(mapping.iova());
                mapping.release().expect("it is confirmed");
            }
        });
    }
    let mut ring: Reserved<_, Nowhere, _> = Dma::reserve(dma, SLOTS, bytes).expect("there is room");
    Box::new(move || {
        for run in 0..BATCH / RUN {
            let start = run * RUN % SLOTS;
            for slot in start..start + RUN {
                black_box(ring.link(slot, buffer(), Direction::Both).expect("it is mapped"));
            }
            ring.sync().expect("it is confirmed");
            ring.unlink(start..start + RUN, |_, buffer| _ = black_box(buffer)).expect("it is confirmed");
        }
    })
}
