//! A table of whatever format a configuration names.

use crate::{
    detached::Detached,
    error::{ConfigError, CutError, GrowError, HarvestError, MapError, UnmapError},
    format::{Format, Options, Shape, Touched},
    formats::{
        AmdV1, AmdV2, ArmStage1, ArmStage2, RiscvFirst, RiscvSecond, VtdFirst, VtdSecond, with_format,
    },
    mem::Mem,
    table::Table,
    unmap::Unmapped,
    walk::{Walk, WalkError},
};
use core::fmt;
use ioward_types::{Attributes, Iova, PhysAddr, Root, Span, TableConfig};

macro_rules! any {
    ($($(#[$doc:meta])* $name:ident($format:ty),)*) => {
        /// A [`Table`] of any format: what a [`TableConfig`] says. Calls choose the format once and then run its own code.
        #[non_exhaustive]
        pub enum AnyTable<M> {
            $($(#[$doc])* $name(Table<$format, M>),)*
        }

        $(impl<M> From<Table<$format, M>> for AnyTable<M> {
            fn from(table: Table<$format, M>) -> Self {
                Self::$name(table)
            }
        })*
    };
}

any! {
    /// Arm stage 1, 4 KiB granule.
    ArmStage1Granule4(ArmStage1<12>),
    /// Arm stage 1, 16 KiB granule.
    ArmStage1Granule16(ArmStage1<14>),
    /// Arm stage 1, 64 KiB granule.
    ArmStage1Granule64(ArmStage1<16>),
    /// Arm stage 2, 4 KiB granule.
    ArmStage2Granule4(ArmStage2<12>),
    /// Arm stage 2, 16 KiB granule.
    ArmStage2Granule16(ArmStage2<14>),
    /// Arm stage 2, 64 KiB granule.
    ArmStage2Granule64(ArmStage2<16>),
    /// AMD host tables.
    AmdV1(AmdV1),
    /// AMD guest tables.
    AmdV2(AmdV2),
    /// VT-d second stage.
    VtdSecond(VtdSecond),
    /// VT-d first stage.
    VtdFirst(VtdFirst),
    /// RISC-V first stage.
    RiscvFirst(RiscvFirst),
    /// RISC-V second stage.
    RiscvSecond(RiscvSecond),
}

macro_rules! each {
    ($any:expr, $table:ident => $body:expr) => {
        match $any {
            AnyTable::ArmStage1Granule4($table) => $body,
            AnyTable::ArmStage1Granule16($table) => $body,
            AnyTable::ArmStage1Granule64($table) => $body,
            AnyTable::ArmStage2Granule4($table) => $body,
            AnyTable::ArmStage2Granule16($table) => $body,
            AnyTable::ArmStage2Granule64($table) => $body,
            AnyTable::AmdV1($table) => $body,
            AnyTable::AmdV2($table) => $body,
            AnyTable::VtdSecond($table) => $body,
            AnyTable::VtdFirst($table) => $body,
            AnyTable::RiscvFirst($table) => $body,
            AnyTable::RiscvSecond($table) => $body,
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
        each!(self, table => table.root())
    }

    /// See [`Table::config`].
    pub fn config(&self) -> TableConfig {
        each!(self, table => table.config())
    }

    /// See [`Table::memory`].
    pub fn memory(&self) -> &M {
        each!(self, table => table.memory())
    }

    /// See [`Table::widen`].
    pub fn widen(&self, how: Attributes) -> Attributes {
        each!(self, table => table.widen(how))
    }

    /// See [`Table::map`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn map(&self, at: Iova, to: Span<PhysAddr>, how: Attributes) -> Result<(), MapError> {
        // SAFETY: as promised by the caller.
        each!(self, table => unsafe { table.map(at, to, how) })
    }

    /// See [`Table::unmap`].
    #[inline]
    pub fn unmap(&self, span: Span<Iova>) -> Result<Unmapped, UnmapError> {
        each!(self, table => table.unmap(span))
    }

    /// See [`Table::free`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn free(&self, detached: Detached) {
        // SAFETY: as promised by the caller.
        each!(self, table => unsafe { table.free(detached) })
    }

    /// See [`Table::lookup`].
    #[inline]
    pub fn lookup(&self, at: Iova) -> Option<(PhysAddr, Attributes, u64)> {
        each!(self, table => table.lookup(at))
    }

    /// See [`Table::grow`].
    pub fn grow(&self, in_bits: u8) -> Result<Root, GrowError> {
        each!(self, table => table.grow(in_bits))
    }

    /// See [`Table::cut`].
    pub fn cut(&self, at: Iova) -> Result<Option<Span<Iova>>, CutError> {
        each!(self, table => table.cut(at))
    }

    /// See [`Table::walk`].
    pub fn walk(&self, at: Iova) -> Result<Walk, WalkError> {
        each!(self, table => table.walk(at))
    }

    /// See [`Table::harvest`].
    pub fn harvest(
        &self,
        span: Span<Iova>,
        sink: impl FnMut(Span<Iova>, Touched),
    ) -> Result<(), HarvestError> {
        each!(self, table => table.harvest(span, sink))
    }

    /// See [`Table::trim`].
    pub fn trim(&mut self) -> Detached {
        each!(self, table => table.trim())
    }

    /// See [`Table::destroy`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn destroy(self) {
        // SAFETY: as promised by the caller.
        each!(self, table => unsafe { table.destroy() })
    }
}

impl<M: Mem> fmt::Debug for AnyTable<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        each!(self, table => table.fmt(f))
    }
}
