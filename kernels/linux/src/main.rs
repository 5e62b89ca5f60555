//! The load of `kernel::nvme::measure` as a program for Linux on aarch64: the same requests to the same device, at the same
//! depth, past the page cache, and the instructions of all that the CPU did meanwhile, the kernel's included.
//!
//! It is built for bare metal as the kernels are, since a compiler that can build them need not have Linux's libraries: it
//! needs nothing but system calls (their numbers and structures: Linux, include/uapi).
#![no_std]
#![no_main]

use core::{
    arch::{asm, global_asm},
    fmt::{self, Write as _},
};

/// The most requests that are under way at a time.
const DEPTH: usize = 32;
/// Bytes of the largest request.
const LARGEST: usize = 64 << 10;
/// Requests under way at a time, bytes per request, and how many: as in `kernel::nvme::measure`.
const CASES: [(usize, usize, u64); 4] =
    [(1, 4 << 10, 512), (1, 64 << 10, 512), (32, 4 << 10, 2048), (32, 64 << 10, 1024)];
/// How often each is measured, after one round more for whatever is done for the first time.
const ROUNDS: u32 = 5;

mod number {
    pub const IO_SETUP: usize = 0;
    pub const IO_SUBMIT: usize = 2;
    pub const IO_GETEVENTS: usize = 4;
    pub const IOCTL: usize = 29;
    pub const OPENAT: usize = 56;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PREAD: usize = 67;
    pub const EXIT: usize = 93;
    pub const MMAP: usize = 222;
    pub const PERF_EVENT_OPEN: usize = 241;
}

global_asm!(
    ".global _start",
    "_start:",
    "bl program",
    "mov x8, #93", // exit
    "svc #0",
    "b .",
);

/// A system call; the kernel's negative numbers of errors as `Err`.
///
/// # Safety
/// The call's own: whatever it is told to read or write is there.
unsafe fn call(number: usize, args: [usize; 6]) -> Result<usize, isize> {
    let result: isize;
    // SAFETY: as promised by the caller; Linux keeps all registers but x0.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") args[0] => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
        );
    }
    if result < 0 { Err(result) } else { Ok(result as usize) }
}

/// Standard output.
struct Out;

impl fmt::Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // SAFETY: reads the text.
        let written = unsafe { call(number::WRITE, [1, text.as_ptr() as usize, text.len(), 0, 0, 0]) };
        written.map(drop).map_err(|_| fmt::Error)
    }
}

/// `struct iocb` (linux/aio_abi.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    data: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    file: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    more_flags: u32,
    event_file: u32,
}

const NOTHING: Request = Request {
    data: 0,
    key: 0,
    flags: 0,
    opcode: 0,
    priority: 0,
    file: 0,
    buffer: 0,
    bytes: 0,
    offset: 0,
    reserved: 0,
    more_flags: 0,
    event_file: 0,
};

/// `struct io_event`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Event {
    data: u64,
    request: u64,
    result: i64,
    second: i64,
}

/// `struct perf_event_attr` (linux/perf_event.h) of its first size, 64 bytes: the kind, its size, what is counted, and
/// zeros: from now on, everything, whoever runs.
#[repr(C)]
struct Counter {
    kind: u32,
    size: u32,
    what: u64,
    rest: [u64; 6],
}

/// What did not work, and the kernel's number for why.
struct Failed(&'static str, isize);

fn named(what: &'static str) -> impl Fn(isize) -> Failed {
    move |error| Failed(what, error)
}

/// One huge page for all of them. So each lies in one piece, as the buffers of our kernel do: in pages from here and there, a
/// request would be mapped in as many pieces as memory happens to have; and what nobody has written to would be one and
/// the same page of zeros.
fn buffers() -> Result<usize, Failed> {
    const BYTES: usize = DEPTH * LARGEST;
    const READ_WRITE: usize = 1 | 2;
    const PRIVATE_ANONYMOUS_HUGE: usize = 0x2 | 0x20 | 0x4_0000;
    // SAFETY: the kernel chooses where.
    let at = unsafe { call(number::MMAP, [0, BYTES, READ_WRITE, PRIVATE_ANONYMOUS_HUGE, usize::MAX, 0]) };
    let at = at.map_err(named("a huge page for the buffers"))?;
    // SAFETY: the memory is ours alone.
    unsafe { (at as *mut u8).write_bytes(1, BYTES) };
    Ok(at)
}

/// An open device with its queue of requests.
struct Load {
    file: usize,
    context: usize,
    counter: usize,
    /// `/proc/stat`.
    statistics: usize,
    /// [`DEPTH`] buffers of [`LARGEST`] bytes, one behind the other.
    buffers: usize,
}

impl Load {
    fn open() -> Result<Self, Failed> {
        const READ_WRITE_DIRECT: usize = 0o2 | 0o200_000;
        const HERE: usize = -100_isize as usize;
        let path = c"/dev/nvme0n1";
        let mut context = 0_usize;
        let counter = Counter { kind: 0, size: 64, what: 1, rest: [0; 6] }; // hardware: instructions
        // SAFETY: reads the path, writes the context, reads the counter's description. CPU 0, every process.
        unsafe {
            let file = call(number::OPENAT, [HERE, path.as_ptr() as usize, READ_WRITE_DIRECT, 0, 0, 0]);
            let file = file.map_err(named("open /dev/nvme0n1"))?;
            let setup = call(number::IO_SETUP, [DEPTH, &raw mut context as usize, 0, 0, 0, 0]);
            setup.map_err(named("io_setup"))?;
            let everyone = usize::MAX;
            let counter =
                call(number::PERF_EVENT_OPEN, [&raw const counter as usize, everyone, 0, everyone, 0, 0]);
            let counter = counter.map_err(named("perf_event_open"))?;
            const ENABLE: usize = 0x2400;
            call(number::IOCTL, [counter, ENABLE, 0, 0, 0, 0]).map_err(named("enable the counter"))?;
            let path = c"/proc/stat";
            let statistics = call(number::OPENAT, [HERE, path.as_ptr() as usize, 0, 0, 0, 0]);
            let statistics = statistics.map_err(named("open /proc/stat"))?;
            Ok(Self { file, context, counter, statistics, buffers: buffers()? })
        }
    }

    /// Instructions that CPU 0 has run.
    fn instructions(&self) -> Result<u64, Failed> {
        let mut count = 0_u64;
        // SAFETY: writes the count.
        let read = unsafe { call(number::READ, [self.counter, &raw mut count as usize, 8, 0, 0, 0]) };
        read.map_err(named("read the counter")).map(|_| count)
    }

    /// Interrupts that the machine has taken since it was started: the first number behind `intr` in `/proc/stat`.
    fn interrupts(&self) -> Result<u64, Failed> {
        let mut text = [0_u8; 4096];
        // SAFETY: writes as much of the text as there is room for.
        let read = unsafe {
            call(number::PREAD, [self.statistics, text.as_mut_ptr() as usize, text.len(), 0, 0, 0])
        };
        let text = &text[..read.map_err(named("read /proc/stat"))?.min(text.len())];
        let name = b"\nintr ";
        let at = text.windows(name.len()).position(|window| window == name);
        let at = at.ok_or(Failed("no count of interrupts in /proc/stat", 0))?;
        let digits = text[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        Ok(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    }

    /// Moves `count` requests of `bytes` bytes, one behind the other on the device.
    fn run(&self, depth: usize, write: bool, bytes: usize, count: u64) -> Result<(), Failed> {
        let mut requests = [NOTHING; DEPTH];
        let mut events = [Event { data: 0, request: 0, result: 0, second: 0 }; DEPTH];
        let (mut next, mut done) = (0, 0);
        let mut submit = |slot: usize, next: u64| {
            let buffer = (self.buffers + slot * LARGEST) as u64;
            requests[slot] = Request {
                data: slot as u64,
                opcode: u16::from(write),
                file: self.file as u32,
                buffer,
                bytes: bytes as u64,
                offset: (next * bytes as u64) as i64,
                ..NOTHING
            };
            let list = [&raw const requests[slot]];
            // SAFETY: the request and its buffer, which nothing refers to, stay until its event has come.
            let taken =
                unsafe { call(number::IO_SUBMIT, [self.context, 1, &raw const list as usize, 0, 0, 0]) };
            taken.map_err(named("io_submit"))
        };
        for slot in 0..depth.min(count as usize) {
            submit(slot, next)?;
            next += 1;
        }
        while done < count {
            // SAFETY: writes at most as many events as there is room for; waits for one.
            let got = unsafe {
                call(number::IO_GETEVENTS, [self.context, 1, DEPTH, events.as_mut_ptr() as usize, 0, 0])
            };
            for event in &events[..got.map_err(named("io_getevents"))?.min(DEPTH)] {
                if event.result != bytes as i64 {
                    return Err(Failed("a request", event.result as isize));
                }
                done += 1;
                if next < count {
                    submit(event.data as usize % DEPTH, next)?;
                    next += 1;
                }
            }
        }
        Ok(())
    }

    /// `measured read 4096 32 1000 123456 990`: which, bytes, depth, requests, instructions, interrupts.
    fn measure(&self) -> Result<(), Failed> {
        for (depth, bytes, count) in CASES {
            for (name, write) in [("write", true), ("read", false)] {
                self.run(depth, write, bytes, count)?;
                // How requests and their ends meet differs: the round that took the least counts.
                let mut least = (u64::MAX, 0);
                for _ in 0..ROUNDS {
                    let taken = self.interrupts()?;
                    let begun = self.instructions()?;
                    self.run(depth, write, bytes, count)?;
                    let run = self.instructions()? - begun;
                    least = least.min((run, self.interrupts()? - taken));
                }
                let _ = writeln!(Out, "measured {name} {bytes} {depth} {count} {} {}", least.0, least.1);
            }
        }
        Ok(())
    }
}

#[unsafe(no_mangle)]
extern "C" fn program() -> i32 {
    match Load::open().and_then(|load| load.measure()) {
        Ok(()) => 0,
        Err(Failed(what, error)) => {
            let _ = writeln!(Out, "ERROR {what}: {error}");
            1
        }
    }
}

#[panic_handler]
fn panic(why: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Out, "ERROR {why}");
    // SAFETY: ends the program.
    let _ = unsafe { call(number::EXIT, [2, 0, 0, 0, 0, 0]) };
    loop {
        core::hint::spin_loop();
    }
}
