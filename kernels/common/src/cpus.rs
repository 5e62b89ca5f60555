//! A second CPU: started once, it runs what it is given, while the first one does its own part.

use crate::{
    board::{board, off},
    say,
};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use ioward::types::Nanos;

/// The most CPUs that these kernels run on.
pub const MOST: usize = 2;
/// How long a part may take.
const LIMIT: Nanos = Nanos(60_000_000_000);

/// The number of the CPU that runs this, below [`MOST`].
pub fn current() -> usize {
    board().map_or(0, |board| (board.cpu)()).min(MOST - 1)
}

/// Work for the second CPU.
struct Job<'a> {
    work: &'a mut (dyn FnMut() + Send),
    done: AtomicBool,
}

static JOB: AtomicPtr<Job<'static>> = AtomicPtr::new(core::ptr::null_mut());
static STARTED: AtomicBool = AtomicBool::new(false);

/// Where the second CPU goes once it runs Rust: it waits for jobs for ever.
pub fn second() -> ! {
    STARTED.store(true, Ordering::Release);
    loop {
        let job = JOB.swap(core::ptr::null_mut(), Ordering::Acquire);
        if job.is_null() {
            core::hint::spin_loop();
            continue;
        }
        // SAFETY: `both` keeps the job until it is done, and leaves its work to us. No reference to the whole job is made:
        // `both` looks at its flag meanwhile.
        unsafe {
            ((*job).work)();
            (*job).done.store(true, Ordering::Release);
        }
    }
}

/// Runs `first` on this CPU and `second` on the other one, at the same time. False where there is no other one.
pub fn both(mut first: impl FnMut(), mut second: impl FnMut() + Send) -> bool {
    let Some(board) = board() else { return false };
    if !STARTED.load(Ordering::Acquire) {
        if !(board.start)() {
            return false;
        }
        wait(|| STARTED.load(Ordering::Acquire), "the second CPU does not start");
    }
    let mut job = Job { work: &mut second, done: AtomicBool::new(false) };
    let pointer: *mut Job<'_> = &raw mut job;
    JOB.store(pointer.cast(), Ordering::Release);
    first();
    // SAFETY: the job lives until this function ends. Its flag is an atomic, and the other CPU makes no reference that is
    // its own to the flag or to the job around it.
    let done: &AtomicBool = unsafe { &(*pointer).done };
    // What it works on is on our stack.
    wait(|| done.load(Ordering::Acquire), "the second CPU does not finish its part");
    true
}

/// Waits for another CPU; where that does not come there is no way on, and the machine ends with `what`.
pub(crate) fn wait(until: impl Fn() -> bool, what: &str) {
    let nanos = || board().map_or(0, |board| (board.nanos)());
    let start = nanos();
    while !until() {
        if nanos() - start > LIMIT.0 {
            say!("PANIC {what}");
            off()
        }
        core::hint::spin_loop();
    }
}
