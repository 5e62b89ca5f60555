//! The four things that only the machine's own code can do, and what prints with them.

use core::fmt;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What each kernel's `main.rs` gives to the shared code.
pub struct Board {
    /// Sends one byte to the console.
    pub put: fn(u8),
    /// Nanoseconds since some moment before boot.
    pub nanos: fn() -> u64,
    /// Ends the machine.
    pub off: fn() -> !,
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

/// Prints a line on the board's console.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::board::Console, $($arg)*);
    }};
}

#[panic_handler]
fn panic(why: &core::panic::PanicInfo<'_>) -> ! {
    say!("PANIC {why}");
    off()
}
