//! Page tables: one entry for each format, and for the ways of using one that cost something.

use crate::{
    abi::{List, Services, Tables},
    platform::{Bench, Counted},
};
use ioward_core::TablePages;
use ioward_pgtable::{
    AnyTable, CLEANED, ConfigError, Detached, EXACT, Format, MARKED, MapCause, MapError, Options, Plain,
    Table, UnmapError, Unmapped,
    formats::{AmdV1, AmdV2, ArmStage1, ArmStage2, RiscvFirst, RiscvSecond, VtdFirst, VtdSecond},
};
use ioward_types::{Attributes, Iova, PhysAddr, Span, TableConfig};
use std::{
    ffi::{CStr, c_int, c_void},
    ptr,
    sync::OnceLock,
};

type Mem = TablePages<Bench<Counted>>;

/// As the address spaces of a subsystem, all tables share the pages that CPUs have at hand.
static PAGES: OnceLock<Mem> = OnceLock::new();

fn pages(services: &'static Services) -> Mem {
    let new = || TablePages::new(Bench::new(services));
    let shared = PAGES.get_or_init(new);
    if shared.platform().is_on(services) { shared.clone() } else { new() }
}

/// Gives back the pages that CPUs have at hand.
pub fn trim() {
    PAGES.get().inspect(|pages| pages.trim());
}

/// What is measured: a table of one format, to which the harness's pointer is what an `AnyTable`'s is to it; or an `AnyTable`
/// as an address space has it, behind the harness's pointer.
trait Measured: Sized {
    fn make(mem: Mem, config: &TableConfig) -> Result<Self, ConfigError>;
    /// # Safety
    /// As for `Table::map_granule`.
    unsafe fn map_granule(&self, at: Iova, to: PhysAddr, how: Plain) -> bool;
    /// # Safety
    /// As for `Table::map`.
    unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError>;
    fn unmap_granule(&self, at: Iova) -> bool;
    fn unmap(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError>;
    /// # Safety
    /// As for `Table::free`.
    unsafe fn free(&self, detached: Detached);
    fn translate_or(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr;
    /// # Safety
    /// As for `Table::destroy`.
    unsafe fn destroy(self);
}

/// A table of one format, and the code for links of one kind: what the pointers of an `AnyTable` lead to.
struct Direct<F, const LINKS: u8>(Table<F, Mem>);

impl<F: Format, const LINKS: u8> Measured for Direct<F, LINKS> {
    fn make(mem: Mem, config: &TableConfig) -> Result<Self, ConfigError> {
        let table = Table::new(mem, config, Options::default())?;
        assert_eq!(table.links(), LINKS, "{config:?}");
        Ok(Self(table))
    }
    #[inline(always)]
    unsafe fn map_granule(&self, at: Iova, to: PhysAddr, how: Plain) -> bool {
        // SAFETY: as promised by the caller; `make` has looked at the links, here and below.
        unsafe { self.0.map_granule_by::<LINKS>(at, to, how) }
    }
    #[inline(always)]
    unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        // SAFETY: as promised by the caller.
        unsafe { self.0.map(at, to, how) }
    }
    #[inline(always)]
    fn unmap_granule(&self, at: Iova) -> bool {
        // SAFETY: as above.
        unsafe { self.0.unmap_granule_by::<LINKS>(at) }
    }
    #[inline(always)]
    fn unmap(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError> {
        self.0.unmap(span)
    }
    #[inline(always)]
    unsafe fn free(&self, detached: Detached) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.free(detached) }
    }
    #[inline(always)]
    fn translate_or(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        // SAFETY: as above; a walk that is not exact reads all others.
        unsafe {
            match LINKS {
                EXACT => self.0.translate_by::<EXACT>(at, nowhere),
                _ => self.0.translate_by::<MARKED>(at, nowhere),
            }
        }
    }
    #[inline(always)]
    unsafe fn destroy(self) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.destroy() }
    }
}

impl Measured for AnyTable<Mem> {
    fn make(mem: Mem, config: &TableConfig) -> Result<Self, ConfigError> {
        AnyTable::new(mem, config)
    }
    #[inline(always)]
    unsafe fn map_granule(&self, at: Iova, to: PhysAddr, how: Plain) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { AnyTable::map_granule(self, at, to, how) }
    }
    #[inline(always)]
    unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        // SAFETY: as promised by the caller.
        unsafe { AnyTable::map(self, at, to, how) }
    }
    #[inline(always)]
    fn unmap_granule(&self, at: Iova) -> bool {
        AnyTable::unmap_granule(self, at)
    }
    #[inline(always)]
    fn unmap(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError> {
        AnyTable::unmap(self, span)
    }
    #[inline(always)]
    unsafe fn free(&self, detached: Detached) {
        // SAFETY: as promised by the caller.
        unsafe { AnyTable::free(self, detached) }
    }
    #[inline(always)]
    fn translate_or(&self, at: Iova, nowhere: PhysAddr) -> PhysAddr {
        AnyTable::translate_or(self, at, nowhere)
    }
    #[inline(always)]
    unsafe fn destroy(self) {
        // SAFETY: as promised by the caller.
        unsafe { AnyTable::destroy(self) }
    }
}

/// A table, with what a caller of the subsystem would bring to each call.
struct Domain<T> {
    table: T,
    /// Not constants to the compiler: an address space is told them with each mapping.
    how: Attributes,
    plain: Plain,
}

/// Of all formats that are measured.
const GRANULE: u64 = 4096;

const EINVAL: c_int = -22;
const EEXIST: c_int = -17;
const ENOMEM: c_int = -12;

fn create<T: Measured>(services: *const Services, sizes: u64, config: TableConfig) -> *mut c_void {
    // SAFETY: the harness's services are a static.
    let services: &'static Services = unsafe { &*services };
    let config = TableConfig { page_sizes: sizes, ..config };
    match T::make(pages(services), &config) {
        Ok(table) => {
            let how = std::hint::black_box(Attributes::READ_WRITE);
            let plain = Plain::of(how).expect("what buffers are mapped with");
            Box::into_raw(Box::new(Domain { table, how, plain })).cast()
        }
        Err(error) => {
            eprintln!("ioward: {config:?}: {error}");
            ptr::null_mut()
        }
    }
}

/// # Safety
/// `domain` comes from `create` with the same format and has not been destroyed.
#[inline(always)]
unsafe fn of<'a, T: Measured>(domain: *mut c_void) -> &'a Domain<T> {
    // SAFETY: as promised by the caller.
    unsafe { &*domain.cast::<Domain<T>>() }
}

extern "C" fn map<T: Measured>(
    domain: *mut c_void,
    at: u64,
    to: u64,
    size: u64,
    count: u64,
    mapped: *mut u64,
) -> c_int {
    // SAFETY: the harness hands in what `create` gave.
    let domain = unsafe { of::<T>(domain) };
    let to = Span { start: PhysAddr(to), bytes: size.wrapping_mul(count) };
    // As the DMA API looks at what it is given.
    let page = (at | to.start.0) & (GRANULE - 1) | (to.bytes ^ GRANULE) == 0;
    // SAFETY: no device walks the table; the harness's threads have ranges of their own. It is a page in line.
    if page && unsafe { domain.table.map_granule(Iova(at), to.start, domain.plain) } {
        // SAFETY: the harness's own.
        unsafe { *mapped += to.bytes };
        return 0;
    }
    map_range(domain, at, to, mapped)
}

#[inline(never)]
fn map_range<T: Measured>(domain: &Domain<T>, at: u64, to: Span<PhysAddr>, mapped: *mut u64) -> c_int {
    // SAFETY: as in `map`.
    match unsafe { domain.table.map(Iova(at), to, domain.how) } {
        Ok(()) => {
            // SAFETY: the harness's own.
            unsafe { *mapped += to.bytes };
            0
        }
        Err(error) => match error.cause {
            MapCause::Exists(_) => EEXIST,
            MapCause::NoMemory(_) => ENOMEM,
            _ => EINVAL,
        },
    }
}

extern "C" fn unmap<T: Measured>(domain: *mut c_void, at: u64, size: u64, count: u64) -> u64 {
    // SAFETY: as in `map`.
    let table = unsafe { &of::<T>(domain).table };
    let span = Span { start: Iova(at), bytes: size.wrapping_mul(count) };
    let page = at & (GRANULE - 1) | (span.bytes ^ GRANULE) == 0;
    if page && table.unmap_granule(span.start) {
        return span.bytes;
    }
    unmap_range(table, span)
}

#[inline(never)]
fn unmap_range<T: Measured>(table: &T, span: Span<Iova>) -> u64 {
    let Ok(gone) = table.unmap(span) else { return 0 };
    if gone.tables_went() {
        // SAFETY: they are this table's, no hardware walks it, and look-ups do not run meanwhile.
        unsafe { table.free(gone.detached) };
    }
    gone.bytes
}

extern "C" fn iova_to_phys<T: Measured>(domain: *mut c_void, at: u64) -> u64 {
    // SAFETY: as in `map`.
    unsafe { of::<T>(domain) }.table.translate_or(Iova(at), PhysAddr(0)).0
}

extern "C" fn destroy<T: Measured>(domain: *mut c_void) {
    // SAFETY: the harness gives up what `create` gave.
    let domain = unsafe { Box::from_raw(domain.cast::<Domain<T>>()) };
    // SAFETY: no hardware walks it.
    unsafe { domain.table.destroy() };
}

/// Four levels in every format.
const FOUR_LEVELS: TableConfig = TableConfig {
    format: ioward_types::Format::VtdSecond,
    in_bits: 48,
    out_bits: 48,
    page_sizes: 0,
    coherent: true,
    dirty: false,
    snoop: true,
};

macro_rules! entries {
    ($($name:literal: $table:ty, $config:expr;)*) => {
        static ENTRIES: [Tables; COUNT] = [$({
            extern "C" fn create_this(services: *const Services, sizes: u64) -> *mut c_void {
                create::<$table>(services, sizes, $config)
            }
            Tables {
                name: concat!($name, "\0").as_ptr().cast(),
                create: create_this,
                map: map::<$table>,
                unmap: unmap::<$table>,
                iova_to_phys: iova_to_phys::<$table>,
                destroy: destroy::<$table>,
            }
        },)*];
        const COUNT: usize = [$($name),*].len();
    };
}

const ARM_1: TableConfig = TableConfig { format: ioward_types::Format::ArmStage1, ..FOUR_LEVELS };
const ARM_2: TableConfig = TableConfig { format: ioward_types::Format::ArmStage2, ..FOUR_LEVELS };
const AMD_1: TableConfig = TableConfig { format: ioward_types::Format::AmdV1, ..FOUR_LEVELS };
const AMD_2: TableConfig = TableConfig { format: ioward_types::Format::AmdV2, ..FOUR_LEVELS };
const VTD_1: TableConfig = TableConfig { format: ioward_types::Format::VtdFirst, ..FOUR_LEVELS };
const VTD_2: TableConfig = TableConfig { format: ioward_types::Format::VtdSecond, ..FOUR_LEVELS };
const RISCV_1: TableConfig = TableConfig { format: ioward_types::Format::RiscvFirst, ..FOUR_LEVELS };
const RISCV_2: TableConfig =
    TableConfig { format: ioward_types::Format::RiscvSecond, in_bits: 50, ..FOUR_LEVELS };

entries! {
    "ioward Arm stage 1": Direct<ArmStage1<12>, EXACT>, ARM_1;
    "ioward Arm stage 2": Direct<ArmStage2<12>, EXACT>, ARM_2;
    "ioward AMD v1": Direct<AmdV1, MARKED>, AMD_1;
    "ioward AMD v2": Direct<AmdV2, EXACT>, AMD_2;
    "ioward VT-d first": Direct<VtdFirst, EXACT>, VTD_1;
    "ioward VT-d second": Direct<VtdSecond, EXACT>, VTD_2;
    "ioward RISC-V first": Direct<RiscvFirst, EXACT>, RISCV_1;
    "ioward RISC-V second": Direct<RiscvSecond, EXACT>, RISCV_2;
    "ioward Arm 1 incoherent": Direct<ArmStage1<12>, CLEANED>, TableConfig { coherent: false, ..ARM_1 };
    "ioward VT-d 2 incoherent": Direct<VtdSecond, CLEANED>, TableConfig { coherent: false, ..VTD_2 };
    "ioward Arm 1 dirty": Direct<ArmStage1<12>, EXACT>, TableConfig { dirty: true, ..ARM_1 };
    "ioward AMD v1 dirty": Direct<AmdV1, MARKED>, TableConfig { dirty: true, ..AMD_1 };
    "ioward VT-d 2 dirty": Direct<VtdSecond, MARKED>, TableConfig { dirty: true, ..VTD_2 };
    "ioward RISC-V 1 dirty": Direct<RiscvFirst, EXACT>, TableConfig { dirty: true, ..RISCV_1 };
    "ioward any: Arm 1": AnyTable<Mem>, ARM_1;
    "ioward any: VT-d 2": AnyTable<Mem>, VTD_2;
    "ioward any: RISC-V 1": AnyTable<Mem>, RISCV_1;
}

static LIST: List<Tables, { COUNT + 1 }> = {
    let mut list = [ptr::null(); COUNT + 1];
    let mut index = 0;
    while index < COUNT {
        list[index] = &raw const ENTRIES[index];
        index += 1;
    }
    List(list)
};

/// Every entry: a list that ends with null.
#[unsafe(no_mangle)]
pub extern "C" fn pt_bench_plugin() -> *const *const Tables {
    LIST.0.as_ptr()
}

/// The entries, for tests of our own.
pub fn entries() -> impl Iterator<Item = (&'static CStr, &'static Tables)> {
    // SAFETY: names are literals that end with zero.
    ENTRIES.iter().map(|entry| (unsafe { CStr::from_ptr(entry.name) }, entry))
}
