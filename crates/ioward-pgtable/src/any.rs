//! A table of whatever format a configuration names.

use crate::{
    detached::Detached,
    error::{ConfigError, CutError, GrowError, HarvestError, MapError, UnmapError},
    format::{Format, Options, Shape, Touched},
    formats::{
        AmdV1, AmdV2, ArmStage1, ArmStage2, RiscvFirst, RiscvSecond, VtdFirst, VtdSecond, with_format,
    },
    mem::Mem,
    page::Calls,
    table::Table,
    unmap::Unmapped,
    walk::{Walk, WalkError},
};
use core::fmt;
use ioward_types::{Attributes, Iova, PhysAddr, Root, Span, TableConfig};

macro_rules! any {
    ($($name:ident($format:ty),)*) => {
        /// The table of an [`AnyTable`].
        pub(crate) enum Form<M: Mem> {
            $($name(Table<$format, M>),)*
        }

        $(impl<M: Mem> Holds<$format, M> for Form<M> {
            #[inline(always)]
            unsafe fn table(&self) -> &Table<$format, M> {
                match self {
                    Self::$name(table) => table,
                    // SAFETY: it is of that format, as promised by the caller.
                    _ => unsafe { core::hint::unreachable_unchecked() },
                }
            }
        }

        impl<M: Mem> From<Table<$format, M>> for AnyTable<M> {
            fn from(table: Table<$format, M>) -> Self {
                Self { calls: Calls::of::<$format>(table.links), form: Form::$name(table) }
            }
        })*
    };
}

/// What may hold a table of format `F`.
pub(crate) trait Holds<F: Format, M: Mem> {
    /// The table.
    ///
    /// # Safety
    /// It is of that format.
    unsafe fn table(&self) -> &Table<F, M>;
}

/// A [`Table`] of any format: what a [`TableConfig`] says.
///
/// What is done for single pages and short runs goes by a pointer that was chosen when the table was made: one call, straight
/// to the code of the format and its kind of links. All else chooses the format by a jump, once a call.
pub struct AnyTable<M: Mem> {
    /// Made of the same table as `form`.
    pub(crate) calls: Calls<M>,
    pub(crate) form: Form<M>,
}

any! {
    ArmStage1Granule4(ArmStage1<12>),
    ArmStage1Granule16(ArmStage1<14>),
    ArmStage1Granule64(ArmStage1<16>),
    ArmStage2Granule4(ArmStage2<12>),
    ArmStage2Granule16(ArmStage2<14>),
    ArmStage2Granule64(ArmStage2<16>),
    AmdV1(AmdV1),
    AmdV2(AmdV2),
    VtdSecond(VtdSecond),
    VtdFirst(VtdFirst),
    RiscvFirst(RiscvFirst),
    RiscvSecond(RiscvSecond),
}

macro_rules! each {
    ($any:expr, $table:ident => $body:expr) => {
        match $any {
            $crate::any::Form::ArmStage1Granule4($table) => $body,
            $crate::any::Form::ArmStage1Granule16($table) => $body,
            $crate::any::Form::ArmStage1Granule64($table) => $body,
            $crate::any::Form::ArmStage2Granule4($table) => $body,
            $crate::any::Form::ArmStage2Granule16($table) => $body,
            $crate::any::Form::ArmStage2Granule64($table) => $body,
            $crate::any::Form::AmdV1($table) => $body,
            $crate::any::Form::AmdV2($table) => $body,
            $crate::any::Form::VtdSecond($table) => $body,
            $crate::any::Form::VtdFirst($table) => $body,
            $crate::any::Form::RiscvFirst($table) => $body,
            $crate::any::Form::RiscvSecond($table) => $body,
        }
    };
}
pub(crate) use each;

/// The shape of the root that a table like this has: what whoever reads a table of somebody else's has to know, and no
/// entry tells.
pub fn shape(config: &TableConfig) -> Result<Shape, ConfigError> {
    let (format, granule) = (config.format, config.granule());
    with_format!(
        config,
        F => <F as Format>::check(config).map(|()| <F as Format>::shape(config.in_bits)),
        Err(ConfigError::Granule { format, granule })
    )
}

impl<M: Mem> AnyTable<M> {
    /// An empty table of this shape, on an IOMMU that offers nothing optional.
    pub fn new(mem: M, config: &TableConfig) -> Result<Self, ConfigError> {
        Self::with(mem, config, Options::default())
    }

    /// An empty table of this shape.
    pub fn with(mem: M, config: &TableConfig, options: Options) -> Result<Self, ConfigError> {
        let (format, granule) = (config.format, config.granule());
        with_format!(
            config,
            F => Table::<F, M>::new(mem, config, options).map(Self::from),
            Err(ConfigError::Granule { format, granule })
        )
    }

    /// See [`Table::root`].
    pub fn root(&self) -> Root {
        each!(&self.form, table => table.root())
    }

    /// See [`Table::config`].
    pub fn config(&self) -> TableConfig {
        each!(&self.form, table => table.config())
    }

    /// See [`Table::memory`].
    pub fn memory(&self) -> &M {
        each!(&self.form, table => table.memory())
    }

    /// See [`Table::widen`].
    pub fn widen(&self, how: Attributes) -> Attributes {
        each!(&self.form, table => table.widen(how))
    }

    /// See [`Table::map`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        // SAFETY: as promised by the caller.
        each!(&self.form, table => unsafe { table.map(at, to, how) })
    }

    /// See [`Table::unmap`].
    #[inline]
    pub fn unmap(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError> {
        each!(&self.form, table => table.unmap(span))
    }

    /// See [`Table::free`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn free(&self, detached: Detached) {
        // SAFETY: as promised by the caller.
        each!(&self.form, table => unsafe { table.free(detached) })
    }

    /// See [`Table::lookup`].
    #[inline]
    pub fn lookup(&self, at: Iova) -> Option<(PhysAddr, Attributes, u64)> {
        each!(&self.form, table => table.lookup(at))
    }

    /// See [`Table::grow`].
    pub fn grow(&self, in_bits: u8) -> Result<Root, GrowError> {
        each!(&self.form, table => table.grow(in_bits))
    }

    /// See [`Table::cut`].
    pub fn cut(&self, at: Iova) -> Result<Option<Span<Iova>>, CutError> {
        each!(&self.form, table => table.cut(at))
    }

    /// See [`Table::walk`].
    pub fn walk(&self, at: Iova) -> Result<Walk, WalkError> {
        each!(&self.form, table => table.walk(at))
    }

    /// See [`Table::harvest`].
    pub fn harvest(
        &self,
        span: Span<Iova>,
        sink: impl FnMut(Span<Iova>, Touched),
    ) -> Result<(), HarvestError> {
        each!(&self.form, table => table.harvest(span, sink))
    }

    /// See [`Table::trim`].
    pub fn trim(&mut self) -> Detached {
        each!(&mut self.form, table => table.trim())
    }

    /// See [`Table::destroy`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn destroy(self) {
        // SAFETY: as promised by the caller.
        each!(self.form, table => unsafe { table.destroy() })
    }
}

impl<M: Mem> fmt::Debug for AnyTable<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(&self.form, table => table.fmt(f))
    }
}
