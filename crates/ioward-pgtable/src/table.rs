//! A table: its configuration and its root.

use crate::{
    error::{ConfigError, GrowError, RangeError},
    format::{Format, Options, Rules},
    mem::{Mem, Node},
    page::Plain,
};
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering};
use core::{fmt, marker::PhantomData, sync::atomic};
use ioward_types::{Attributes, Iova, PhysAddr, Root, Span, TableConfig};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};

/// A page table of format `F` in memory of `M`, which is any [`Platform`](ioward_types::Platform).
///
/// Methods take `&self`; calls on disjoint ranges may run at once. Dropping it **leaks** every table, because hardware
/// may still walk them: see [`Table::destroy`].
pub struct Table<F, M: Mem> {
    pub(crate) mem: M,
    /// Of a format that grows: a [`Top`], packed, which [`Table::grow`] changes.
    top: AtomicU64,
    /// What the table was made with; the root of all other formats stays.
    first: Top,
    /// Leaf sizes, in bytes, as a set.
    pub(crate) sizes: u64,
    out_bits: u8,
    /// The first number above the IOVAs that `first` translates, or above those of the lower half, where it has three levels,
    /// and where it has four; zero where it has others, and for good before another root is put above it.
    ///
    /// No step of its own to a checker of interleavings: see [`Table::root_at`] for why an old number does no harm.
    input_ends: [atomic::AtomicU64; 2],
    /// The same where no root is ever put above another: a number that a comparison takes from memory by itself.
    fixed_ends: [u64; 2],
    /// Where the CPU reaches the root of `first`.
    first_view: M::View,
    /// The physical address of the last granule that an entry can lead to.
    pub(crate) last_output: u64,
    /// The smallest page of several entries of the lowest level, in bytes: a power of two, 2^63 where there is none.
    pub(crate) least_set: u64,
    /// The bits of leaves of each [`Plain`], or of what [`Format::widen`] makes of it; zero where the format has none such.
    pub(crate) leaf_bits: [u64; Plain::ALL],
    /// Which of them allow just that, as a set of places.
    just_that: u8,
    pub(crate) coherent: bool,
    pub(crate) links: Links,
    pub(crate) rules: Rules,
    options: Options,
    format: PhantomData<F>,
}

/// How links of a table are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Links {
    /// As [`Format::link`] makes them, for [`Format::exact_target`].
    Exact = EXACT,
    /// There may be more in them.
    Marked = MARKED,
    /// One that has not been cleaned counts as none where something is mapped: a walker that does not snoop may not see it
    /// yet.
    Cleaned = CLEANED,
}

// As parameters of functions.
#[doc(hidden)]
pub const EXACT: u8 = 0;
#[doc(hidden)]
pub const MARKED: u8 = 1;
#[doc(hidden)]
pub const CLEANED: u8 = 2;

/// What a walk starts with, in registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Top {
    pub(crate) node: Node,
    /// Level of the root.
    pub(crate) level: u32,
    in_bits: u8,
}

impl Top {
    // A root is aligned to 4 KiB at least and lies below 2^52.
    fn pack(root: PhysAddr, in_bits: u8, levels: u32) -> u64 {
        root.0 | u64::from(in_bits) << 4 | u64::from(levels)
    }
    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        // SAFETY: the root lives as long as the table does.
        let node = unsafe { Node::at(PhysAddr(packed & !0xfff)) };
        Self { node, level: (packed & 0xf) as u32 - 1, in_bits: (packed >> 4 & 0x7f) as u8 }
    }
    #[inline(always)]
    fn in_mask(self) -> u64 {
        u64::MAX >> (64 - self.in_bits)
    }
}

/// Where an entry for `at` stands in a table of `level` that is not a root.
#[inline(always)]
pub(crate) fn index<F: Format>(at: u64, level: u32) -> usize {
    (at >> F::entry_shift(level)) as usize & ((1 << F::INDEX_BITS) - 1)
}

/// Where an entry for `at` stands in a root of `level`, for an input of the table that is in no upper half.
#[inline(always)]
pub(crate) fn root_index<F: Format>(at: u64, level: u32) -> usize {
    (at >> F::entry_shift(level)) as usize
}

impl Top {
    /// Where the root's entry for `at` stands.
    #[inline(always)]
    pub(crate) fn index<F: Format>(self, at: u64) -> usize {
        // A root may have more entries than other tables, or fewer; the width says.
        ((at & self.in_mask()) >> F::entry_shift(self.level)) as usize
    }

    /// The page sizes that levels up to the root's can have, as a set: a table may be narrower than its largest page, or
    /// have grown no level for it yet.
    #[inline(always)]
    pub(crate) fn page_sizes<F: Format>(self) -> u64 {
        u64::MAX >> 64u32.saturating_sub(F::entry_shift(self.level + 1))
    }

    /// How many entries the root has.
    pub(crate) fn entries<F: Format>(self) -> usize {
        1 << u32::from(self.in_bits).saturating_sub(F::entry_shift(self.level))
    }
}

impl<F: Format, M: Mem> Table<F, M> {
    /// An empty table.
    pub fn new(mem: M, config: &TableConfig, options: Options) -> Result<Self, ConfigError> {
        if config.format != F::FORMAT {
            return Err(ConfigError::Format(config.format));
        }
        F::check(config)?;
        Self::check_sets(config)?;
        if config.dirty && !config.coherent {
            return Err(ConfigError::DirtyIncoherent);
        }
        let shape = F::shape(config.in_bits);
        let below = PhysAddr(1 << config.out_bits);
        let root = Node::new(&mem, shape.root_bytes, below).map_err(ConfigError::NoMemory)?;
        if !config.coherent {
            root.clean(&mem, 0, shape.root_bytes / 8);
        }
        mem.publish();
        let rules = Rules { dirty: config.dirty, no_execute: options.no_execute, snoop: config.snoop };
        let both_halves = F::SIGN_EXTENDED && u32::from(config.in_bits) == F::entry_shift(shape.levels);
        let packed = Top::pack(root.phys(), config.in_bits, shape.levels);
        let bits = Plain::all().map(|plain| F::encode(plain.attributes(), &rules));
        let widened = |plain: Plain| {
            let how = plain.attributes();
            // Nothing is not widened to something.
            if how.read || how.write { F::encode(F::widen(how), &rules) } else { None }
        };
        let leaf_bits = Plain::all().map(|plain| bits[plain.place()].or(widened(plain)).unwrap_or(0));
        let just_that = bits.iter().rev().fold(0, |set, bits| set << 1 | u8::from(bits.is_some()));
        let ends = [3, 4].map(|levels| {
            let bits = config.in_bits - u8::from(both_halves);
            if shape.levels == levels { 1 << bits } else { 0 }
        });
        Ok(Self {
            first_view: root.view(&mem),
            mem,
            leaf_bits,
            just_that,
            least_set: match config.page_sizes & ((1 << F::entry_shift(1)) - 1) & !(1 << F::GRANULE_SHIFT) {
                0 => 1 << 63,
                sets => sets & sets.wrapping_neg(),
            },
            input_ends: ends.map(atomic::AtomicU64::new),
            fixed_ends: ends,
            last_output: (1 << config.out_bits) - (1 << F::GRANULE_SHIFT),
            top: AtomicU64::new(packed),
            first: Top::unpack(packed),
            sizes: config.page_sizes,
            out_bits: config.out_bits,
            coherent: config.coherent,
            links: match F::exact_target(0) {
                _ if !config.coherent => Links::Cleaned,
                Some(_) if !(config.dirty && F::LINKS_MARKED) => Links::Exact,
                _ => Links::Marked,
            },
            rules,
            options,
            format: PhantomData,
        })
    }

    /// A page of several entries can be split in its own table only if single entries may be pages.
    fn check_sets(config: &TableConfig) -> Result<(), ConfigError> {
        let mut sizes = config.page_sizes;
        while sizes != 0 {
            let shift = sizes.trailing_zeros();
            let entry = 1 << F::entry_shift((shift - F::GRANULE_SHIFT) / F::INDEX_BITS);
            if config.page_sizes & entry == 0 {
                return Err(ConfigError::SetWithoutEntry { format: F::FORMAT, bytes: 1 << shift, entry });
            }
            sizes &= sizes - 1;
        }
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn top(&self) -> Top {
        if F::GROWS { Top::unpack(self.top.load(Ordering::Acquire)) } else { self.first }
    }

    /// The root that the table was made with, where it is of `level`, which is 2 or 3 and a constant, and translates `at`. An
    /// upper half is left out, and so is all of a table that has grown.
    #[inline(always)]
    pub(crate) fn root_at(&self, level: u32, at: u64) -> Option<Node> {
        // Relaxed: who finds a number that was there before a grow has a root that is a table yet. It goes only by an unmap
        // that covers all of it, whose caller has seen the grow and of whom later users of the range know.
        let levels = level as usize - 2;
        let end = if F::GROWS {
            self.input_ends[levels].load(atomic::Ordering::Relaxed)
        } else {
            self.fixed_ends[levels]
        };
        (at < end).then_some(self.first.node)
    }

    /// The root of a table that has grown to four levels, where they translate `at`. Nothing is linked outside of its width.
    #[inline(always)]
    pub(crate) fn grown_root(&self, at: u64) -> Option<Node> {
        let top = self.top();
        (F::GROWS && top.level == 3 && at >> F::entry_shift(4) == 0).then_some(top.node)
    }

    /// Of which kind its links are.
    #[doc(hidden)]
    pub fn links(&self) -> u8 {
        self.links as u8
    }

    /// Where hardware starts walking. It changes by [`Table::grow`] alone.
    pub fn root(&self) -> Root {
        let top = self.top();
        Root { at: top.node.phys(), levels: top.level as u8 + 1 }
    }

    /// What the table was made from; the input width is the present one.
    pub fn config(&self) -> TableConfig {
        TableConfig {
            format: F::FORMAT,
            in_bits: self.top().in_bits,
            out_bits: self.out_bits,
            page_sizes: self.sizes,
            coherent: self.coherent,
            dirty: self.rules.dirty,
            snoop: self.rules.snoop,
        }
    }

    /// What the table was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The memory that tables come from.
    pub fn memory(&self) -> &M {
        &self.mem
    }

    /// The attributes closest to `how` that a mapping here can have and that allow all that `how` does: what to ask for
    /// after [`MapCause::Attributes`](crate::MapCause::Attributes), if the policy is to grant more rather than to refuse.
    pub fn widen(&self, how: Attributes) -> Attributes {
        F::widen(how)
    }

    /// Whether a leaf can allow just this.
    #[inline]
    pub(crate) fn allows(&self, how: Plain) -> bool {
        self.just_that >> how.place() & 1 != 0
    }

    /// Bytes of a table that is not a root.
    pub(crate) const TABLE_BYTES: usize = 1 << F::GRANULE_SHIFT;
    /// Entries of a table that is not a root.
    pub(crate) const ENTRIES: usize = 1 << F::INDEX_BITS;

    pub(crate) fn below(&self) -> PhysAddr {
        PhysAddr(1 << self.out_bits)
    }

    pub(crate) fn granule(&self) -> u64 {
        1 << F::GRANULE_SHIFT
    }

    /// Whether `at` is an IOVA of the table; canonical where both halves are meant.
    #[inline(always)]
    pub(crate) fn is_input(top: Top, at: u64) -> bool {
        let full = F::GRANULE_SHIFT + (top.level + 1) * F::INDEX_BITS;
        if F::SIGN_EXTENDED && u32::from(top.in_bits) == full {
            let shift = 64 - full;
            return ((at << shift) as i64 >> shift) as u64 == at;
        }
        at & !top.in_mask() == 0
    }

    #[inline(always)]
    pub(crate) fn check_input(&self, top: Top, at: Iova, bytes: u64) -> Result<(), RangeError> {
        let last = at.0.wrapping_add(bytes.wrapping_sub(1));
        let aligned = (at.0 | bytes) & (self.granule() - 1) == 0;
        // A range between the halves of a sign-extended space would wrap its index; it is none of the two.
        let within = Self::is_input(top, at.0) && Self::is_input(top, last) && last >= at.0;
        let crosses = F::SIGN_EXTENDED && (at.0 ^ last) >> 63 != 0;
        if bytes != 0 && aligned && within && !crosses {
            return Ok(());
        }
        Err(self.name_input(top, at, bytes))
    }

    #[cold]
    fn name_input(&self, top: Top, at: Iova, bytes: u64) -> RangeError {
        match bytes {
            0 => RangeError::Empty { at },
            _ if (at.0 | bytes) & (self.granule() - 1) != 0 => {
                RangeError::Misaligned { at, bytes, granule: self.granule() }
            }
            _ => RangeError::Input { at, bytes, in_bits: top.in_bits },
        }
    }

    #[inline(always)]
    pub(crate) fn check_output(&self, to: Span<PhysAddr>) -> Result<(), RangeError> {
        // The length is a multiple of the granule and not zero: `check_input` saw it.
        let last = to.start.0.wrapping_add(to.bytes.wrapping_sub(1));
        if to.start.0 & (self.granule() - 1) != 0 {
            return Err(RangeError::OutputMisaligned { to: to.start, granule: self.granule() });
        }
        if last < to.start.0 || last >> self.out_bits != 0 {
            return Err(RangeError::Output { to: to.start, bytes: to.bytes, out_bits: self.out_bits });
        }
        Ok(())
    }

    /// Makes the table translate `in_bits` bits by putting roots above the present one, while DMA and other calls run, and
    /// tells the root to install. Where the table is as wide already, nothing changes.
    ///
    /// Hitless: what the old root translates, the new one translates alike, and the old one stays a table. Until the new
    /// root is installed everywhere, hardware faults on IOVAs that the old one did not reach; what [`Table::unmap`] and
    /// [`Table::trim`] hand out may be freed only after every IOMMU has the new root and has been invalidated.
    pub fn grow(&self, in_bits: u8) -> Result<Root, GrowError> {
        if !F::GROWS {
            return Err(GrowError::Fixed(F::FORMAT));
        }
        let wanted = TableConfig { in_bits, ..self.config() };
        if let Err(ConfigError::InBits { bits, max, .. }) = F::check(&wanted)
            && bits > max
        {
            return Err(GrowError::InBits { bits, max });
        }
        loop {
            let packed = self.top.load(Ordering::Acquire);
            let top = Top::unpack(packed);
            if top.in_bits >= in_bits {
                return Ok(self.root());
            }
            let levels = F::shape(in_bits).levels;
            let (mut node, mut level) = (top.node, top.level);
            while level + 1 < levels {
                match self.root_above(node, level) {
                    Ok(above) => node = above,
                    Err(out) => {
                        self.drop_roots(node, level, top);
                        return Err(GrowError::NoMemory(out));
                    }
                }
                level += 1;
            }
            let new = Top::pack(node.phys(), in_bits, levels);
            if levels > top.level + 1 {
                self.input_ends.iter().for_each(|end| end.store(0, atomic::Ordering::Relaxed));
            }
            if self.top.compare_exchange(packed, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
                // Somebody else grew it; whether far enough, the next round sees.
                self.drop_roots(node, level, top);
            }
        }
    }

    fn root_above(&self, below: Node, level: u32) -> Result<Node, ioward_types::OutOfMemory> {
        let above = Node::new(&self.mem, Self::TABLE_BYTES, self.below())?;
        above.store(&self.mem, 0, F::link(below.phys(), level) | self.cleaned_mark());
        if !self.coherent {
            above.clean(&self.mem, 0, Self::ENTRIES);
        }
        self.mem.publish();
        Ok(above)
    }

    /// Frees roots that were never installed, from `node` of `level` down to that of `top`.
    fn drop_roots(&self, mut node: Node, mut level: u32, top: Top) {
        while level > top.level {
            let link = node.load(&self.mem, 0);
            // SAFETY: made by `root_above` and seen by nobody else.
            unsafe { node.free(&self.mem, Self::TABLE_BYTES) };
            // SAFETY: the link was made by `root_above` to a live table.
            node = unsafe { Node::at(F::link_target(link)) };
            level -= 1;
        }
    }

    #[inline(always)]
    pub(crate) fn cleaned_mark(&self) -> u64 {
        if self.coherent { 0 } else { F::LINK_CLEANED }
    }

    /// The table that an entry of `level`, which is a link, leads to.
    #[inline(always)]
    pub(crate) fn child(raw: u64) -> Node {
        // SAFETY: the link was read from a live table; what it leads to is freed only by the call that covers all of its
        // span, and calls on overlapping ranges do not run at once (`map`, `Detached::free`).
        unsafe { Node::at(F::link_target(raw)) }
    }

    /// [`Table::child`] of a table whose links are [`Links::Exact`] or not, as the parameter says.
    ///
    /// # Safety
    /// They are exact if it says so.
    #[inline(always)]
    pub(crate) unsafe fn child_by<const LINKS: u8>(raw: u64) -> Node {
        match F::exact_target(raw) {
            Some(target) if LINKS == EXACT => {
                debug_assert!(F::link_target(raw) == target);
                // SAFETY: as in `child`: what nobody changes leads where it was made to lead, and the caller promises that.
                unsafe { Node::at(target) }
            }
            _ => Self::child(raw),
        }
    }

    /// Loads the entry for `at` from the table of `level` that a link, an entry one level higher, leads to.
    ///
    /// # Safety
    /// As for [`Table::child_by`].
    #[inline(always)]
    pub(crate) unsafe fn load_below<const LINKS: u8>(&self, link: u64, level: u32, at: u64) -> u64 {
        debug_assert!(LINKS != EXACT || self.links == Links::Exact);
        let entry = if LINKS == EXACT { None } else { F::entry_below(link, level, at) };
        match entry {
            // SAFETY: the format says where in the table of `child`, which lives, its entry for `at` is.
            Some(entry) => unsafe { self.mem.load(entry) },
            // SAFETY: as promised by the caller.
            None => unsafe { Self::child_by::<LINKS>(link) }.row(&self.mem, index::<F>(at, level)).load(0),
        }
    }

    /// Loads the entry for `at` from the root that the table was made with, which [`Table::root_at`] gave for `at`.
    #[inline(always)]
    pub(crate) fn load_first(&self, level: u32, at: u64) -> u64 {
        self.first.node.load_in(&self.mem, self.first_view, root_index::<F>(at, level))
    }
}

impl<F: Format, M: Mem> fmt::Debug for Table<F, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = if F::GROWS { Top::unpack(self.top.load(Ordering::Acquire)) } else { self.first };
        write!(f, "Table({}, root {}, {} levels)", F::FORMAT, top.node.phys(), top.level + 1)
    }
}
