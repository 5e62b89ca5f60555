//! The few things that only the machine's own code can do, and what prints with them.

use crate::lock::Spin;
use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};
use ioward::types::Mutex;

/// What each kernel's `main.rs` gives to the shared code.
pub struct Board {
    /// Sends one byte to the console.
    pub put: fn(u8),
    /// Nanoseconds since some moment before boot.
    pub nanos: fn() -> u64,
    /// Ends the machine.
    pub off: fn() -> !,
    /// The number of the CPU that asks: 0 for the one that booted.
    pub cpu: fn() -> usize,
    /// Starts the second CPU, which goes to [`crate::cpus::second`]. False where there is none, or this kernel cannot.
    pub start: fn() -> bool,
    /// Instructions that this CPU has run, modulo 2^32; always 0 where nothing counts them.
    pub instructions: fn() -> u32,
    /// The local APIC of the CPU that asks; none on machines without.
    pub apic: Option<Apic>,
}

/// A local APIC as it is looked at without ever taking an interrupt.
pub struct Apic {
    /// Turns it on, and tells its number: where messages find it.
    pub on: fn() -> u32,
    /// Whether a vector has arrived and was not taken.
    pub pending: fn(u8) -> bool,
}

impl Board {
    /// What a kernel has that runs on one CPU and counts nothing: for all that it does not say of itself.
    pub const ALONE: Self = Self {
        put: |_| {},
        nanos: || 0,
        off: || loop {
            core::hint::spin_loop();
        },
        cpu: || 0,
        start: || false,
        instructions: || 0,
        apic: None,
    };
}

static BOARD: AtomicPtr<Board> = AtomicPtr::new(core::ptr::null_mut());

/// Makes `board` the one that everything prints on. Before that, printing goes nowhere.
pub fn set(board: &'static Board) {
    BOARD.store(core::ptr::from_ref(board).cast_mut(), Ordering::Release);
}

/// The board, once [`set`].
pub fn board() -> Option<&'static Board> {
    // SAFETY: null, or what `set` stored: a reference that lives for ever and is never written through.
    unsafe { BOARD.load(Ordering::Acquire).as_ref() }
}

/// Ends the machine; spins where no board can do that.
pub fn off() -> ! {
    if let Some(board) = board() {
        (board.off)()
    }
    loop {
        core::hint::spin_loop();
    }
}

/// The console as `core::fmt` wants it.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(board) = board() {
            text.bytes().for_each(board.put);
        }
        Ok(())
    }
}

/// Whoever prints a line has the console until the line is done.
static LINE: Mutex<Spin, ()> = Mutex::from_raw(Spin::UNLOCKED, ());

/// Prints a line: what [`say`](crate::say) stands for.
pub fn line(text: fmt::Arguments<'_>) {
    use fmt::Write as _;
    let _line = LINE.lock();
    let _ = writeln!(Console, "{text}");
}

/// Prints a line on the board's console.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::board::line(format_args!($($arg)*)) };
}

#[panic_handler]
fn panic(why: &core::panic::PanicInfo<'_>) -> ! {
    use fmt::Write as _;
    // Whoever panics may have been printing.
    let _ = writeln!(Console, "PANIC {why}");
    off()
}
