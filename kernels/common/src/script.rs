//! What every device is made to try: DMA that is allowed, whose bytes must arrive, and DMA that is not, which must change
//! nothing and must be reported.
//!
//! Rogue DMA aims at physical addresses, so that it hits what it aims at where nothing translates: the same kernel with
//! translation bypassed is the negative control of every check named `rogue-…`.

use crate::{
    checks::Checks,
    edu::{Edu, EduError},
    platform::Kernel,
};
use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;
use ioward::core::driver::{Access, Driver, Fault};
use ioward::types::{Attributes, Iova, PhysAddr, Platform as _, SourceId};

/// Bytes of a page, and of every allowed transfer.
pub const PAGE: u64 = 4096;
/// Bytes of a rogue transfer. QEMU reports every four of them as a fault of its own, and the subsystem delivers only a few
/// faults of one source in a second.
const ROGUE: u64 = 4;
/// Where allowed DMA goes: far from where the memory is.
const FAR: [Iova; 2] = [Iova(0x2_3456_7000), Iova(0x2_8000_0000)];

/// The mappings of a device's group, however they are made.
pub trait Side {
    /// Maps a page.
    fn map(&mut self, at: Iova, to: PhysAddr, how: Attributes) -> Result<(), String>;
    /// Unmaps a page; nothing reaches it after `Ok`.
    fn unmap(&mut self, at: Iova) -> Result<(), String>;
    /// Lets the device reach nothing, or what is mapped.
    fn block(&mut self, blocked: bool) -> Result<(), String>;
    /// What has been reported of the device since it was asked last.
    fn faults(&mut self) -> Vec<Fault>;
}

/// What a machine's IOMMU reports of requests that it stops.
#[derive(Clone, Copy)]
pub struct Reports {
    /// Those that fail in a page table.
    pub tables: bool,
    /// Those of a blocked device.
    pub blocked: bool,
}

impl Reports {
    /// What QEMU's IOMMUs report. An SMMUv3 aborts what a blocked source does without an event (IHI 0070, 5.2, STE.Config
    /// 0b000); QEMU 10's riscv-iommu reports it without an address, and its amd-iommu never writes its event log: it takes
    /// the log for overflowed, whatever its status says.
    pub fn of(drivers: &[Arc<dyn Driver>]) -> Self {
        let silent = |kind| drivers.iter().any(|driver| driver.kind() == kind);
        let blocked = !["AMD-Vi", "SMMUv3", "RISC-V IOMMU"].into_iter().any(silent);
        Self { tables: !silent("AMD-Vi"), blocked }
    }
}

/// A page of memory that is looked at as hardware leaves it.
pub struct Page(PhysAddr);

impl Page {
    /// A page full of `seed`.
    pub fn new(seed: u8) -> Self {
        let page = Self::zeroed();
        page.fill(seed);
        page
    }

    /// A page full of zeros.
    pub fn zeroed() -> Self {
        Self(Kernel.frames(PAGE as usize, PAGE as usize, PhysAddr(1 << 32)).expect("a megabyte is free"))
    }

    /// The eight bytes at `at`, below 4096 and a multiple of eight, as hardware left them.
    pub fn read64(&self, at: usize) -> u64 {
        // SAFETY: as for `fill`.
        unsafe { self.word64(at).read_volatile() }
    }

    /// Writes eight bytes there.
    pub fn write64(&self, at: usize, value: u64) {
        // SAFETY: as for `fill`.
        unsafe { self.word64(at).write_volatile(value) }
    }

    fn word64(&self, at: usize) -> *mut u64 {
        assert!(at < PAGE as usize && at.is_multiple_of(8), "{at:#x} is no place of eight bytes in a page");
        Kernel.virt(self.0).cast::<u64>().as_ptr().wrapping_add(at / 8)
    }

    /// Where it is.
    pub fn phys(&self) -> PhysAddr {
        self.0
    }

    /// Its address as an IOVA: what a rogue device would try.
    pub fn iova(&self) -> Iova {
        Iova(self.0.0)
    }

    fn words(&self) -> impl Iterator<Item = *mut u32> {
        let first = Kernel.virt(self.0).cast::<u32>().as_ptr();
        (0..PAGE as usize / 4).map(move |index| first.wrapping_add(index))
    }

    /// What the page holds at `index` when it is full of `seed`.
    fn word(seed: u8, index: usize) -> u32 {
        (u32::from(seed) << 24 | index as u32).wrapping_mul(0x9e37_79b1)
    }

    /// Fills it.
    pub fn fill(&self, seed: u8) {
        for (index, word) in self.words().enumerate() {
            // SAFETY: the page is ours; devices may write to it, nothing refers to it.
            unsafe { word.write_volatile(Self::word(seed, index)) }
        }
    }

    /// Copies its first bytes out.
    pub fn first(&self, into: &mut [u8; 64]) {
        for (word, bytes) in self.words().zip(into.chunks_exact_mut(4)) {
            // SAFETY: as for `fill`.
            bytes.copy_from_slice(&unsafe { word.read_volatile() }.to_le_bytes());
        }
    }

    /// Whether it is full of `seed`.
    pub fn holds(&self, seed: u8) -> bool {
        self.begins(seed, PAGE)
    }

    /// Whether its first `bytes` bytes are those of a page full of `seed`.
    pub fn begins(&self, seed: u8, bytes: u64) -> bool {
        let mut words = self.words().take(bytes as usize / 4).enumerate();
        // SAFETY: as for `fill`.
        words.all(|(index, word)| unsafe { word.read_volatile() } == Self::word(seed, index))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: it came from here with this length. Every mapping of it has been unmapped, or the check has failed.
        unsafe { Kernel.free(self.0, PAGE as usize) }
    }
}

/// Why a check failed.
#[derive(Debug)]
pub enum Why {
    /// The device itself.
    Device(EduError),
    /// Making or ending a mapping.
    Mapping(String),
    /// What should have arrived did not.
    NotArrived,
    /// What should not have changed did, or what should not have been read was.
    Reached,
    /// It was not reported: what was instead.
    NotReported(Vec<Fault>),
    /// Something was reported though nothing was wrong.
    Reported(Vec<Fault>),
}

impl From<EduError> for Why {
    fn from(error: EduError) -> Self {
        Self::Device(error)
    }
}
impl From<String> for Why {
    fn from(error: String) -> Self {
        Self::Mapping(error)
    }
}

/// Where a device was sent, which it was kept from; or why that failed, and where it was sent if it was.
type Attempt = Result<Iova, (Why, Option<Iova>)>;

/// One device, what it is behind, and what it is called.
pub struct Script<'a> {
    /// Where results go.
    pub checks: &'a mut Checks,
    /// The device.
    pub edu: &'a Edu,
    /// As what its IOMMU sees it.
    pub source: SourceId,
    /// Its mappings.
    pub side: &'a mut dyn Side,
    /// A page that is mapped for another device, at its physical address.
    pub neighbour: &'a Page,
    /// What the neighbour's page holds.
    pub neighbour_seed: u8,
    /// What the IOMMU reports.
    pub reports: Reports,
    /// Which way mappings are made, for the names of checks.
    pub way: &'static str,
}

impl Script<'_> {
    fn check(&mut self, name: &str, result: Result<(), Why>) {
        let name = Name { name, way: self.way, edu: self.edu };
        self.checks.check(name, result);
    }

    /// Runs all of it.
    pub fn run(&mut self) {
        let _ = self.side.faults();
        let copy = self.copy();
        self.check("copy", copy);
        let faults = self.side.faults();
        self.check("copy-is-no-fault", if faults.is_empty() { Ok(()) } else { Err(Why::Reported(faults)) });
        self.rogue("not-mapped", Access::Write, false, Self::write_not_mapped);
        self.rogue("secret-not-mapped", Access::Read, false, Self::read_not_mapped);
        self.rogue("read-only", Access::Write, false, Self::write_read_only);
        self.rogue("unmapped-a-moment-ago", Access::Write, false, Self::write_unmapped);
        self.rogue("another-group", Access::Write, false, Self::write_neighbour);
        self.rogue("blocked", Access::Write, true, Self::write_blocked);
        let copy = self.copy();
        self.check("copy-again", copy);
    }

    /// Makes the device try something, and looks for the report. `blocked`: because the device is blocked.
    fn rogue(&mut self, name: &str, access: Access, blocked: bool, attempt: fn(&mut Self) -> Attempt) {
        let _ = self.side.faults();
        let (result, at) = match attempt(self) {
            Ok(at) => (Ok(()), Some(at)),
            Err((why, at)) => (Err(why), at),
        };
        let faults = self.side.faults();
        self.check(&alloc::format!("rogue-{name}"), result);
        if !(if blocked { self.reports.blocked } else { self.reports.tables }) {
            return;
        }
        let reported = faults.iter().any(|fault| {
            fault.source == self.source
                && fault.at.zip(at).is_some_and(|(found, at)| found.0 & !(PAGE - 1) == at.0)
                && fault.access.is_none_or(|found| found == access)
        });
        let result = if reported { Ok(()) } else { Err(Why::NotReported(faults)) };
        self.check(&alloc::format!("rogue-{name}-reported"), result);
    }

    /// Memory to device to memory, both ways through mappings.
    fn copy(&mut self) -> Result<(), Why> {
        let (from, to) = (Page::new(1), Page::new(2));
        let [far_from, far_to] = FAR;
        self.side.map(far_from, from.phys(), Attributes::READ)?;
        self.side.map(far_to, to.phys(), Attributes::READ_WRITE)?;
        self.edu.fetch(&Kernel, far_from, PAGE)?;
        self.edu.store(&Kernel, far_to, PAGE)?;
        self.side.unmap(far_from)?;
        self.side.unmap(far_to)?;
        if to.holds(1) && from.holds(1) { Ok(()) } else { Err(Why::NotArrived) }
    }

    /// Writes to `victim`, full of `seed`, which must not change.
    fn write_to(&mut self, victim: &Page, seed: u8) -> Attempt {
        let at = victim.iova();
        self.edu.store(&Kernel, at, ROGUE).map_err(|why| (why.into(), Some(at)))?;
        if victim.holds(seed) { Ok(at) } else { Err((Why::Reached, Some(at))) }
    }

    fn write_not_mapped(&mut self) -> Attempt {
        self.write_to(&Page::new(3), 3)
    }

    /// Reads a secret that is not mapped and writes what it got to where it may.
    fn read_not_mapped(&mut self) -> Attempt {
        let (secret, mailbox) = (Page::new(4), Page::new(5));
        let at = secret.iova();
        let mut steps = || {
            self.edu.fetch(&Kernel, at, ROGUE)?;
            self.side.map(mailbox.iova(), mailbox.phys(), Attributes::READ_WRITE)?;
            self.edu.store(&Kernel, mailbox.iova(), ROGUE)?;
            self.side.unmap(mailbox.iova())?;
            if mailbox.begins(4, ROGUE) { Err(Why::Reached) } else { Ok(()) }
        };
        steps().map(|()| at).map_err(|why: Why| (why, Some(at)))
    }

    fn write_read_only(&mut self) -> Attempt {
        let victim = Page::new(6);
        self.side.map(victim.iova(), victim.phys(), Attributes::READ).map_err(|why| (why.into(), None))?;
        let result = self.write_to(&victim, 6);
        self.side.unmap(victim.iova()).map_err(|why| (why.into(), None))?;
        result
    }

    /// First the mapping works, so that whatever caches translations has it; then it is gone.
    fn write_unmapped(&mut self) -> Attempt {
        let victim = Page::new(7);
        let at = victim.iova();
        let mut steps = || {
            self.side.map(at, victim.phys(), Attributes::READ_WRITE)?;
            self.edu.store(&Kernel, at, PAGE)?;
            if victim.holds(7) {
                return Err(Why::NotArrived);
            }
            self.side.unmap(at)?;
            victim.fill(7);
            Ok(())
        };
        steps().map_err(|why: Why| (why, Some(at)))?;
        self.write_to(&victim, 7)
    }

    fn write_neighbour(&mut self) -> Attempt {
        let (neighbour, seed) = (self.neighbour, self.neighbour_seed);
        self.write_to(neighbour, seed)
    }

    /// What is mapped is out of reach while the device is blocked.
    fn write_blocked(&mut self) -> Attempt {
        let victim = Page::new(8);
        let at = victim.iova();
        let mapping = |why: String| (Why::Mapping(why), None);
        self.side.map(at, victim.phys(), Attributes::READ_WRITE).map_err(mapping)?;
        self.side.block(true).map_err(mapping)?;
        let result = self.write_to(&victim, 8);
        self.side.block(false).map_err(mapping)?;
        self.side.unmap(at).map_err(mapping)?;
        result
    }
}

/// `copy@driver/0000:00:01.0`.
struct Name<'a> {
    name: &'a str,
    way: &'static str,
    edu: &'a Edu,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}", self.name, self.way, self.edu.function)
    }
}
