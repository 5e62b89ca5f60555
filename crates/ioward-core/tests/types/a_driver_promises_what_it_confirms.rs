use ioward_core::driver::{Blocked, Capabilities, Claim, Driver, Event, Flush, Hung, Plan, Refused, Requirements, Slot};
use ioward_core::driver::Translation;
use ioward_types::{IommuId, Pasid, TableConfig, Tag};

struct Liar;

impl Driver for Liar {
    fn id(&self) -> IommuId {
        IommuId(0)
    }
    fn kind(&self) -> &'static str {
        "liar"
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }
    fn plan(&self, _: &Requirements) -> Result<Plan, Refused> {
        Err(Refused::NoTag { iommu: IommuId(0) })
    }
    fn can_walk(&self, _: &TableConfig) -> Result<(), Refused> {
        Ok(())
    }
    fn claim(&self, what: &Claim) -> Result<Slot, Refused> {
        Ok(Slot { iommu: IommuId(0), source: what.source, index: 0 })
    }
    fn release(&self, _: Slot, _: bool) -> Blocked {
        Blocked::Confirmed
    }
    fn tag(&self, _: &Plan) -> Result<Tag, Refused> {
        Ok(Tag(0))
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

fn main() {}
