//! The second rung of adopting ioward: the subsystem. Devices are added, drivers bind and map through the safe DMA API, or
//! somebody takes a device's group and makes mappings where he likes.

use crate::{
    checks::Checks,
    edu::Edu,
    platform::Kernel,
    script::{PAGE, Reports, Side, Why},
};
use alloc::{
    string::{String, ToString as _},
    sync::Arc,
    vec::Vec,
};
use ioward::{
    core::{
        AddressSpace, Bound, Device, DeviceId, Dma, FrameBuffer, OwnedGroup, Report, Subsystem, Unbound,
        driver::{Access, Driver, Fault},
    },
    types::{Attributes, Direction, Iova, PhysAddr, Platform as _, Span},
};

/// The faults of `device` since they were asked for last, as the subsystem attributes them.
pub(crate) fn faults(
    subsystem: &Subsystem<Kernel>,
    drivers: &[Arc<dyn Driver>],
    device: DeviceId,
) -> Vec<Fault> {
    let mut found = Vec::new();
    subsystem.poll(drivers, &mut |report| match report {
        Report::Fault { devices, fault, .. } if devices.iter().any(|(id, _)| *id == device) => {
            found.push(fault)
        }
        other => crate::say!("report {other}"),
    });
    found
}

/// Waits until the subsystem delivers each fault of a source again: it delivers only a few in a second.
pub(crate) fn settle() {
    let start = Kernel.now().0;
    while Kernel.now().0 - start < 1_000_000_000 {
        Kernel.relax();
    }
}

/// A group that this kernel has taken for itself, and an address space that it is on.
pub struct Owned<'a> {
    subsystem: &'a Subsystem<Kernel>,
    drivers: &'a [Arc<dyn Driver>],
    device: DeviceId,
    group: OwnedGroup<Kernel>,
    space: Arc<AddressSpace<Kernel>>,
    bypass: bool,
}

impl<'a> Owned<'a> {
    /// Takes the group of `device` and puts it on an empty address space; with `bypass`, lets it through instead.
    pub fn take(
        subsystem: &'a Subsystem<Kernel>,
        drivers: &'a [Arc<dyn Driver>],
        device: &Device<Kernel>,
        bypass: bool,
    ) -> Result<Self, String> {
        let info = device.info();
        let group = info.group.ok_or("the device has no group")?;
        let group = subsystem.take(group, "the checks").map_err(|why| why.to_string())?;
        let space = Unbound::default().bind(&group).map_err(|(why, _)| why.to_string())?;
        let owned = Self { subsystem, drivers, device: info.id, group, space, bypass };
        owned.attach()?;
        Ok(owned)
    }

    fn attach(&self) -> Result<(), String> {
        if self.bypass {
            // SAFETY: the negative control: rogue DMA is to reach memory, and aims only at pages of the checks.
            return unsafe { self.group.attach_identity() }.map_err(|why| why.to_string());
        }
        self.group.attach(&self.space).map_err(|why| why.to_string())
    }
}

impl Side for Owned<'_> {
    fn map(&mut self, at: Iova, to: PhysAddr, how: Attributes) -> Result<(), String> {
        // SAFETY: the script gives pages that nothing refers to, and unmaps them before they are reused.
        unsafe { self.space.map(at, Span { start: to, bytes: PAGE }, how) }.map_err(|why| why.to_string())
    }

    fn unmap(&mut self, at: Iova) -> Result<(), String> {
        let gather =
            // SAFETY: mapped by hand here, by nobody else.
            unsafe { self.space.unmap(Span { start: at, bytes: PAGE }, ()) }.map_err(|(why, ())| why.to_string())?;
        gather.finish().map_err(|hung| hung.to_string())
    }

    fn block(&mut self, blocked: bool) -> Result<(), String> {
        match (self.bypass, blocked) {
            (true, _) => Ok(()),
            (false, true) => self.group.block().map_err(|hung| hung.to_string()),
            (false, false) => self.attach(),
        }
    }

    fn faults(&mut self) -> Vec<Fault> {
        faults(self.subsystem, self.drivers, self.device)
    }
}

/// The safe DMA API, as a device's driver uses it: no `unsafe`, and no use after unmap.
pub struct SafeDma<'a> {
    /// The subsystem.
    pub subsystem: &'a Subsystem<Kernel>,
    /// Its drivers, to poll.
    pub drivers: &'a [Arc<dyn Driver>],
    /// The device, with this kernel's driver of it bound.
    pub bound: &'a Bound<Kernel>,
    /// The device itself.
    pub edu: &'a Edu,
    /// What the IOMMU reports.
    pub reports: Reports,
}

impl SafeDma<'_> {
    /// Allowed DMA both ways; then the device goes on using what was unmapped.
    pub fn run(&self, checks: &mut Checks) {
        let name = |what| alloc::format!("{what}@dma/{}", self.edu.function);
        let (at, mut buffer) = match self.copy() {
            Ok(copied) => copied,
            Err(why) => return checks.check(name("copy"), Err(why)),
        };
        checks.check(name("copy"), Ok::<(), Why>(()));
        let _ = faults(self.subsystem, self.drivers, self.bound.id());
        let old = [0x5a; 4];
        buffer.write(0, &old);
        let stored = self.edu.store(&Kernel, at, 4).map_err(Why::Device);
        let mut found = [0; 4];
        buffer.read(0, &mut found);
        let kept = if found == old { Ok(()) } else { Err(Why::Reached) };
        checks.check(name("rogue-use-after-unmap"), stored.and(kept));
        let faults = faults(self.subsystem, self.drivers, self.bound.id());
        if self.reports.tables {
            let right =
                |fault: &Fault| fault.at == Some(at) && fault.access.is_none_or(|how| how == Access::Write);
            let reported = if faults.iter().any(right) { Ok(()) } else { Err(Why::NotReported(faults)) };
            checks.check(name("rogue-use-after-unmap-reported"), reported);
        }
    }

    /// Allowed DMA once more, after a reset.
    pub fn again(&self, checks: &mut Checks) {
        checks.check(alloc::format!("copy-after-reset@{}", self.edu.function), self.copy().map(drop));
    }

    fn copy(&self) -> Result<(Iova, FrameBuffer<Kernel>), Why> {
        copy(self.bound, self.edu)
    }
}

/// Copies through the device; gives the target buffer back, and where it was mapped.
pub fn copy(bound: &Bound<Kernel>, edu: &Edu) -> Result<(Iova, FrameBuffer<Kernel>), Why> {
    let dma: &Dma<Kernel> = bound.dma();
    let buffer = || FrameBuffer::new(&Kernel, PAGE as usize, PAGE as usize).map_err(|why| why.to_string());
    let (mut from, to) = (buffer()?, buffer()?);
    let text = b"through a mapping, by way of a device, and back again through another";
    from.write(100, text);
    let text_of = |why: ioward::core::MapError| Why::Mapping(why.to_string());
    let from = Dma::map(dma, from, Direction::ToDevice).map_err(|(why, _)| text_of(why))?;
    let to = Dma::map(dma, to, Direction::FromDevice).map_err(|(why, _)| text_of(why))?;
    let at = to.iova();
    edu.fetch(&Kernel, from.iova(), PAGE)?;
    edu.store(&Kernel, at, PAGE)?;
    from.unmap().map_err(|hung| hung.to_string())?;
    let to = to.unmap().map_err(|hung| hung.to_string())?;
    let mut arrived = [0; 69];
    to.read(100, &mut arrived);
    if arrived == *text { Ok((at, to)) } else { Err(Why::NotArrived) }
}
