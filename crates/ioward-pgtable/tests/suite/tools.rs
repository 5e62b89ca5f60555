//! What the tests of the suite share.

use crate::common::{
    Host, cases, iova,
    judge::{Found, Page, judge},
    phys,
};
use ioward_pgtable::{AnyTable, MapError, Mem, Options};
use ioward_types::{Attributes, Iova, TableConfig};

pub const RW: Attributes = Attributes::READ_WRITE;
pub const OPTIONS: Options = Options { hitless_cut: true, no_execute: true };

/// A table with all options.
pub fn table<M: Mem>(mem: &M, config: &TableConfig) -> AnyTable<M> {
    AnyTable::with(mem.clone(), config, OPTIONS).unwrap_or_else(|error| panic!("{config}: {error}"))
}

pub fn try_map<M: Mem>(
    table: &AnyTable<M>,
    at: u64,
    to: u64,
    bytes: u64,
    how: Attributes,
) -> Result<(), MapError> {
    // SAFETY: no device walks it.
    unsafe { table.map(Iova(at), phys(to, bytes), how) }
}

pub fn map<M: Mem>(table: &AnyTable<M>, at: u64, to: u64, bytes: u64) {
    let config = table.config();
    try_map(table, at, to, bytes, RW).unwrap_or_else(|error| panic!("{config} {at:#x} +{bytes:#x}: {error}"));
}

/// Unmaps and frees, and tells how many bytes went.
pub fn unmap<M: Mem>(table: &AnyTable<M>, at: u64, bytes: u64) -> u64 {
    let gone = table.unmap(iova(at, bytes)).unwrap_or_else(|error| panic!("{}: {error}", table.config()));
    // SAFETY: no device walks it.
    unsafe { table.free(gone.detached) };
    gone.bytes
}

/// What a walker that snoops finds; panics over whatever hardware would reject.
pub fn found<M: Mem>(host: &Host, table: &AnyTable<M>, at: u64) -> Option<Page> {
    let config = table.config();
    let found = judge(&config, table.root(), at, |word| host.peek(ioward_types::PhysAddr(word)));
    match found.unwrap_or_else(|why| panic!("{config}: {why}")) {
        Found::Nothing => None,
        Found::Page(page) => Some(page),
    }
}

/// Asserts that `at` leads to `to` in a page of `bytes`, by the judge, by the engine's lookup and by its walk.
pub fn leads<M: Mem>(host: &Host, table: &AnyTable<M>, at: u64, to: u64, bytes: u64) {
    let config = table.config();
    let page = found(host, table, at).unwrap_or_else(|| panic!("{config}: nothing at {at:#x}"));
    assert_eq!((page.to, page.bytes), (to, bytes), "{config}, {at:#x}: {page:#x?}");
    let (looked_up, how, size) = table.lookup(Iova(at)).expect("the judge has found it");
    assert_eq!((looked_up.0, size), (to, bytes), "{config}, {at:#x}");
    let walked = table.walk(Iova(at)).expect("inside").end();
    let expected = ioward_pgtable::Meaning::Page { to: looked_up, bytes, attributes: how };
    assert_eq!(walked, expected, "{config}, {at:#x}");
}

/// Asserts that nothing is mapped at `at`.
pub fn leads_nowhere<M: Mem>(host: &Host, table: &AnyTable<M>, at: u64) {
    assert_eq!(found(host, table, at), None, "{}, {at:#x}", table.config());
    assert_eq!(table.lookup(Iova(at)), None, "{}, {at:#x}", table.config());
}

/// Frees the table, which maps nothing, and asserts that nothing has leaked.
pub fn end<M: Mem>(host: &Host, table: AnyTable<M>) {
    let name = table.config().to_string();
    // SAFETY: no device walks it.
    unsafe { table.destroy() };
    assert_eq!(host.live(), 0, "{name}");
}

/// The page sizes that a table uses, smallest first.
pub fn sizes<M: Mem>(table: &AnyTable<M>) -> Vec<u64> {
    cases::page_sizes(&table.config(), table.root().levels)
}

/// Physical memory outside of the host's window, where no table is: a multiple of all but the largest pages.
pub fn memory(config: &TableConfig) -> u64 {
    1 << (config.out_bits - 1)
}

/// Numbers that are the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}
