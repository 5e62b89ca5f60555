//! Carriers come and go under live mappings (rules 7 and 10).

use super::{
    AddressSpace, MAX_CARRIERS,
    carrier::Backing,
    layout::{Carrier, Layout, Target, Unit, granule},
    map::MapError,
};
use crate::{
    device::AddError,
    driver::{AtcTarget, Driver, Flush, Hung, Plan, Refused, Translation},
};
use alloc::{sync::Arc, vec::Vec};
use ioward_types::{DeviceControl, Iova, Pasid, PhysAddr, Platform, Root, SourceId, Span, TableConfig, Tag};

/// How much of an old mapping is copied before others get their turn, in bytes of IOVA.
const STEP: u64 = 1 << 21;

/// Somebody whose requests are to go through an address space.
pub(crate) struct Want {
    pub driver: Arc<dyn Driver>,
    pub plan: Plan,
    pub target: Target,
}

/// What its driver is to install.
#[derive(Clone, Copy)]
pub(crate) enum Ready {
    Table { root: Root, config: TableConfig, tag: Tag },
    Requests { tag: Tag },
}

impl Ready {
    fn new<P: Platform>(backing: &Backing<P>, plan: &Plan, tag: Tag) -> Self {
        match (backing.root(), plan) {
            (Some(root), Plan::Tables(config)) => Self::Table { root, config: *config, tag },
            _ => Self::Requests { tag },
        }
    }

    pub fn translation(&self) -> Translation<'_> {
        match self {
            Self::Table { root, config, tag } => Translation::Table { root: *root, config, tag: *tag },
            Self::Requests { tag } => Translation::Requests { tag: *tag },
        }
    }
}

impl<P: Platform> AddressSpace<P> {
    /// Makes the address space ready for all of them: carriers, tags and targets exist, and every live mapping is in every
    /// carrier. Nothing is installed yet. On `Err` the address space is as it was.
    pub(crate) fn prepare(&self, wants: &[Want]) -> Result<Vec<Ready>, AddError> {
        let mut layout = self.snapshot();
        let before = layout.carriers.len();
        let mut tags: Vec<(Arc<dyn Driver>, Tag)> = Vec::new();
        let result = self.extend(&mut layout, wants, &mut tags);
        let result = result.and_then(|ready| {
            if layout.carriers.len() > before && before != 0 {
                layout.filling = true;
                self.publish(layout.clone());
                if let Err(error) = self.fill(&layout, before) {
                    self.publish(self.without(wants, before));
                    return Err(AddError::LiveIova(error));
                }
                layout.filling = false;
            }
            // A carrier without an IOMMU was kept for its mappings only; they are elsewhere now.
            let served = |carrier: &Carrier<P>| !carrier.units.is_empty();
            if layout.carriers.iter().any(served) {
                let (kept, idle) = core::mem::take(&mut layout.carriers).into_iter().partition(served);
                layout.carriers = kept;
                self.publish(layout.clone());
                idle.into_iter().for_each(|carrier| destroy(carrier));
            } else {
                self.publish(layout.clone());
            }
            Ok(ready)
        });
        if result.is_err() {
            for (driver, tag) in tags {
                // A tag that cannot be given back is leaked: nothing was ever installed under it.
                // SAFETY: as just said.
                let _ = unsafe { driver.untag(tag) };
            }
            layout.carriers.drain(before..).for_each(|carrier| destroy(carrier));
        }
        result
    }

    /// A layout with every want in it, units and carriers added as needed.
    fn extend(
        &self,
        layout: &mut Layout<P>,
        wants: &[Want],
        tags: &mut Vec<(Arc<dyn Driver>, Tag)>,
    ) -> Result<Vec<Ready>, AddError> {
        let space_granule = self.granule();
        wants
            .iter()
            .map(|want| {
                if granule(&want.plan) > space_granule {
                    let page = granule(&want.plan).trailing_zeros() as u8;
                    let has = space_granule.trailing_zeros() as u8;
                    return Err(AddError::Granule { has, needs: page });
                }
                // Requests go to one IOMMU: each has a carrier of its own, filled as any other. One that has no IOMMU
                // remembers mappings that nobody has been asked for yet, so it only serves to fill another.
                let by_request = matches!(want.plan, Plan::Requests { .. });
                let own = |unit: &Unit| unit.driver.id() == want.driver.id();
                let fits = |carrier: &Carrier<P>| {
                    carrier.plan == want.plan && (!by_request || carrier.units.iter().any(own))
                };
                let found = layout.carriers.iter().position(fits);
                let at = match found {
                    Some(at) => at,
                    None if layout.carriers.len() == MAX_CARRIERS => return Err(AddError::TooManyCarriers),
                    None => {
                        let backing = Arc::new(Backing::new(&want.plan, &self.pages)?);
                        let granule = granule(&want.plan);
                        layout.carriers.push(Carrier {
                            plan: want.plan,
                            granule,
                            backing,
                            units: Vec::new(),
                        });
                        layout.carriers.len() - 1
                    }
                };
                let carrier = &mut layout.carriers[at];
                if carrier.unit(&want.driver).is_none() {
                    let tag = want.driver.tag(&want.plan)?;
                    tags.push((want.driver.clone(), tag));
                    carrier.units.push(Unit::new(want.driver.clone(), tag));
                }
                let backing = carrier.backing.clone();
                match carrier.unit(&want.driver) {
                    Some(unit) => {
                        unit.add(want.target.clone());
                        Ok(Ready::new(&backing, &want.plan, unit.tag))
                    }
                    None => Err(Refused::NoTag { iommu: want.driver.id() }.into()),
                }
            })
            .collect()
    }

    /// Copies every live mapping of the first carrier into those from `new` on. Maps and unmaps of others go on meanwhile,
    /// into all of them.
    fn fill(&self, layout: &Layout<P>, new: usize) -> Result<(), MapError> {
        let Some(source) = layout.carriers.first() else { return Ok(()) };
        let mut from = Iova(0);
        loop {
            let _one_at_a_time = self.filling.lock();
            let Some(leaf) = source.backing.next_leaf(from) else { return Ok(()) };
            let start = leaf.at.start.max(from);
            let last = Iova(leaf.at.last().0.min(start.0 | (STEP - 1)));
            let to = PhysAddr(leaf.to.0 + (start.0 - leaf.at.start.0));
            for carrier in &layout.carriers[new..] {
                if carrier.backing.leaf_at(start).is_some() {
                    continue; // made by somebody after the carrier was published
                }
                let to = Span { start: to, bytes: last.0 - start.0 + 1 };
                // SAFETY: whoever made the mapping owns the memory until a gather for it has finished, and its unmap takes
                // it out of this carrier too, under the lock that is held here.
                let result = unsafe { carrier.backing.map(&carrier.units, start, to, leaf.how) };
                result.map_err(|(error, _)| error)?;
            }
            match last.0.checked_add(1) {
                Some(next) => from = Iova(next),
                None => return Ok(()),
            }
        }
    }

    /// What is to be installed for a plan and an IOMMU that were prepared before.
    pub(crate) fn ready(&self, driver: &Arc<dyn Driver>, plan: &Plan) -> Option<Ready> {
        let mut layout = self.snapshot();
        let at = layout.carrier_of(plan, driver)?;
        let carrier = &mut layout.carriers[at];
        let tag = carrier.unit(driver)?.tag;
        Some(Ready::new(&carrier.backing, plan, tag))
    }

    /// A source or PASID no longer goes through the address space: its entry holds something else, and that was
    /// confirmed. Its device forgets what it cached, and carriers that nobody needs any more are retired. On `Err` the
    /// IOMMU did not answer: the device is silenced, and the target stays, so that whatever is unmapped from now on is
    /// quarantined.
    pub(crate) fn retire(
        &self,
        driver: &Arc<dyn Driver>,
        plan: &Plan,
        source: SourceId,
        pasid: Option<Pasid>,
    ) -> Result<(), Hung> {
        let mut layout = self.snapshot();
        let whole = self.aperture();
        let Some(at) = layout.carrier_of(plan, driver) else { return Ok(()) };
        let Some(unit) = layout.carriers[at].unit(driver) else { return Ok(()) };
        let tag = unit.tag;
        let cached = unit.atc.contains(&AtcTarget { source, pasid });
        let atc: &[AtcTarget] = if cached { &[AtcTarget { source, pasid }] } else { &[] };
        let flush = Flush { tag, span: whole, granule: granule(plan), tables_went: true, atc };
        driver.flush(&[flush]).inspect_err(|_| unit.silence())?;
        let unused = unit.remove(source, pasid);
        let mut gone = None;
        if unused {
            layout.carriers[at].units.retain(|unit| unit.driver.id() != driver.id());
            if layout.carriers[at].units.is_empty() && layout.carriers.len() > 1 {
                gone = Some(layout.carriers.remove(at));
            }
        }
        self.publish(layout);
        if unused {
            // Nothing holds the tag any more; if the IOMMU does not confirm that, the tag is never used again.
            // SAFETY: the last target that went through it has gone.
            let result = unsafe { driver.untag(tag) };
            match gone {
                Some(carrier) if result.is_ok() => destroy(carrier),
                _ => {}
            }
            result?;
        }
        Ok(())
    }

    /// For an address space that no entry holds: gives its tags back, so that its tables can be freed.
    pub(crate) fn discard(&self) {
        let mut layout = self.snapshot();
        for carrier in &mut layout.carriers {
            // SAFETY: no entry holds the address space, says the caller.
            carrier.units.retain(|unit| unsafe { unit.driver.untag(unit.tag) }.is_err());
        }
        self.publish(layout);
    }

    /// A device was pulled: nothing is left of what it cached, and no command reaches it any more.
    pub(crate) fn forget_cache(
        &self,
        driver: &Arc<dyn Driver>,
        plan: &Plan,
        source: SourceId,
        pasid: Option<Pasid>,
    ) {
        let mut layout = self.snapshot();
        if let Some(at) = layout.carrier_of(plan, driver)
            && let Some(unit) = layout.carriers[at].unit(driver)
        {
            unit.forget_cache(source, pasid);
            self.publish(layout);
        }
    }

    /// Another device uses a source: it is silenced with the others.
    pub(crate) fn add_control(
        &self,
        driver: &Arc<dyn Driver>,
        plan: &Plan,
        source: SourceId,
        control: &Arc<dyn DeviceControl>,
    ) {
        let mut layout = self.snapshot();
        if let Some(at) = layout.carrier_of(plan, driver)
            && let Some(unit) = layout.carriers[at].unit(driver)
        {
            let of_it = unit.targets.iter_mut().filter(|target| target.is(source, None));
            for target in
                of_it.filter(|target| !target.controls.iter().any(|known| Arc::ptr_eq(known, control)))
            {
                target.controls.push(control.clone());
            }
            self.publish(layout);
        }
    }

    /// Forgets a target whose entry was never installed, or whose device is gone for good with its entry blocked.
    pub(crate) fn abandon(
        &self,
        driver: &Arc<dyn Driver>,
        plan: &Plan,
        source: SourceId,
        pasid: Option<Pasid>,
    ) {
        // What cannot be confirmed stays as a target, and what it might reach is quarantined when it is unmapped.
        let _ = self.retire(driver, plan, source, pasid);
    }

    pub(super) fn snapshot(&self) -> Layout<P> {
        let (pin, _) = self.platform.pin();
        self.layout.read(&pin).clone()
    }

    pub(super) fn publish(&self, layout: Layout<P>) {
        drop(self.layout.replace(&self.platform, layout.sealed(self.granule())));
        self.platform.fence();
    }

    /// The published layout less the carriers from `new` on and what `wants` added to the others.
    fn without(&self, wants: &[Want], new: usize) -> Layout<P> {
        let mut layout = self.snapshot();
        layout.filling = false;
        layout.carriers.truncate(new);
        for want in wants {
            for carrier in &mut layout.carriers {
                if carrier.plan == want.plan
                    && let Some(unit) = carrier.unit(&want.driver)
                    && unit.remove(want.target.source, want.target.pasid)
                {
                    carrier.units.retain(|unit| unit.driver.id() != want.driver.id());
                }
            }
        }
        layout
    }
}

/// Lets the tables of a carrier be freed. No unit is left on it: each gave its tag back, confirmed.
fn destroy<P: Platform>(carrier: Carrier<P>) {
    // SAFETY: a tag is given back after its entries hold something else, and its caches were flushed whole.
    unsafe { carrier.backing.retire() }
}

impl<P: Platform> Drop for AddressSpace<P> {
    fn drop(&mut self) {
        self.end_queues();
        for carrier in core::mem::take(&mut self.layout.get_mut().carriers) {
            // A unit that is still there did not confirm that it let go: its table is leaked.
            if carrier.units.is_empty() {
                destroy(carrier);
            }
        }
    }
}
