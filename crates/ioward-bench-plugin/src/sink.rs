//! An IOMMU that costs nothing: what it is told is done when it is told.

use ioward_core::driver::{
    Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot, Translation,
};
use ioward_types::{Format, IommuId, Pasid, SourceId, TableConfig, Tag};

/// No device, no cache and no queue: flushes return at once. What is left of a mapping's cost is the subsystem's own.
#[derive(Clone, Copy, Debug)]
pub struct Sink(pub TableConfig);

/// Four levels of VT-d's second stage.
pub const FOUR_LEVELS: TableConfig = TableConfig {
    format: Format::VtdSecond,
    in_bits: 48,
    out_bits: 48,
    page_sizes: 1 << 12 | 1 << 21 | 1 << 30,
    coherent: true,
    dirty: false,
    snoop: true,
};

const ID: IommuId = IommuId(0);

// SAFETY: no device's requests go through it, so whatever is installed is reached by nobody, and nothing is cached.
unsafe impl Driver for Sink {
    fn id(&self) -> IommuId {
        ID
    }
    fn kind(&self) -> &'static str {
        "nothing"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities { coherent: true, ..Capabilities::default() }
    }
    fn plan(&self, _: &Requirements) -> Result<Plan, Refused> {
        Ok(Plan::Tables(self.0))
    }
    fn can_walk(&self, _: &TableConfig) -> Result<(), Refused> {
        Ok(())
    }
    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        let SourceId(index) = what.source;
        Ok(Slot { iommu: ID, source: what.source, index })
    }
    fn release(&self, _: Slot, _: bool) -> Blocked {
        Blocked::Confirmed
    }
    fn tag(&self, _: &Plan) -> Result<Tag, Refused> {
        Ok(Tag(1))
    }
    unsafe fn untag(&self, _: Tag) -> Result<(), Hung> {
        Ok(())
    }
    unsafe fn install(&self, _: &Slot, _: Option<Pasid>, _: &Translation<'_>) -> Result<(), Refused> {
        Ok(())
    }
    fn block(&self, _: &Slot, _: Option<Pasid>) -> Blocked {
        Blocked::Confirmed
    }
    fn flush(&self, _: &[Flush<'_>]) -> Result<(), Hung> {
        Ok(())
    }
    fn poll(&self, _: &mut dyn FnMut(Event)) {}
}
