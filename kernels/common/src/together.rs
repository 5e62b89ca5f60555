//! What a subsystem does beyond one device and one table: devices in one address space, one address space put in place of
//! another, a reset, a removal.

use crate::{
    checks::Checks,
    edu::Edu,
    platform::Kernel,
    script::{PAGE, Page, Why},
};
use alloc::{
    format,
    string::{String, ToString as _},
};
use ioward::{
    core::{AddressSpace, Device, OwnedGroup, Subsystem, Unbound, driver::Blocked},
    types::{Attributes, Iova, Span},
};

/// Where everything is mapped here.
const FROM: Iova = Iova(0x1_0000_0000);
const TO: Iova = Iova(0x1_0000_1000);

/// Two devices, each the only one that counts in its group.
pub struct Pair<'a> {
    /// Where they were added.
    pub subsystem: &'a Subsystem<Kernel>,
    /// The first.
    pub first: (&'a Edu, &'a Device<Kernel>),
    /// The second.
    pub second: (&'a Edu, &'a Device<Kernel>),
}

fn map(space: &AddressSpace<Kernel>, at: Iova, page: &Page, how: Attributes) -> Result<(), String> {
    let to = Span { start: page.phys(), bytes: PAGE };
    // SAFETY: nothing refers to the page, and it is unmapped before it is dropped.
    unsafe { space.map(at, to, how) }.map_err(|why| why.to_string())
}

fn unmap(space: &AddressSpace<Kernel>, at: Iova) -> Result<(), String> {
    // SAFETY: mapped above by hand, by nobody else.
    let gather =
        unsafe { space.unmap(Span { start: at, bytes: PAGE }, ()) }.map_err(|(why, ())| why.to_string())?;
    gather.finish().map_err(|hung| hung.to_string())
}

/// Makes the device copy a page, and tells whether `target` then holds `seed`.
fn copies(edu: &Edu, target: &Page, seed: u8) -> Result<(), Why> {
    target.fill(0);
    edu.fetch(&Kernel, FROM, PAGE)?;
    edu.store(&Kernel, TO, PAGE)?;
    if target.holds(seed) { Ok(()) } else { Err(Why::NotArrived) }
}

impl Pair<'_> {
    /// Runs all of it; the groups are the kernel's own again afterwards.
    pub fn run(&self, checks: &mut Checks) -> Result<(), String> {
        let groups = (self.take(self.first.1)?, self.take(self.second.1)?);
        let space = || Unbound::default().bind(&groups.0).map_err(|(why, _)| why.to_string());
        let (one, other) = (space()?, space()?);
        let (from, to, from_other, to_other) = (Page::new(1), Page::new(2), Page::new(3), Page::new(4));
        map(&one, FROM, &from, Attributes::READ)?;
        map(&one, TO, &to, Attributes::READ_WRITE)?;
        map(&other, FROM, &from_other, Attributes::READ)?;
        map(&other, TO, &to_other, Attributes::READ_WRITE)?;

        let attach = |group: &OwnedGroup<Kernel>, space| group.attach(space).map_err(|why| why.to_string());
        attach(&groups.0, &one)?;
        attach(&groups.1, &one)?;
        checks.check("shared-space@first", copies(self.first.0, &to, 1));
        checks.check("shared-space@second", copies(self.second.0, &to, 1));
        // In place of the old one, at the same IOVAs: the first device sees other memory, the second does not.
        attach(&groups.0, &other)?;
        checks.check("replaced@first", copies(self.first.0, &to_other, 3));
        checks.check("not-replaced@second", copies(self.second.0, &to, 1));

        for space in [&one, &other] {
            unmap(space, FROM)?;
            unmap(space, TO)?;
        }
        Ok(())
    }

    fn take(&self, device: &Device<Kernel>) -> Result<OwnedGroup<Kernel>, String> {
        let group = device.info().group.ok_or("a device has no group")?;
        self.subsystem.take(group, "the checks").map_err(|why| why.to_string())
    }
}

/// A device is reset: what was mapped before works after.
pub fn reset(checks: &mut Checks, edu: &Edu, device: &Device<Kernel>) -> Result<(), String> {
    let bound = device.bind().map_err(|why| why.to_string())?;
    let before = format!("{:?}", device.status());
    let result = device.reset().map_err(|why| why.to_string());
    let same =
        |()| if format!("{:?}", device.status()) == before { Ok(()) } else { Err("not served".to_string()) };
    checks.check(format_args!("reset@{}", edu.function), result.and_then(same));
    drop(bound);
    Ok(())
}

/// A device is taken out: from then on it reaches nothing.
pub fn remove(checks: &mut Checks, edu: &Edu, device: Device<Kernel>) -> Result<(), String> {
    let victim = Page::new(5);
    let confirmed = match device.remove(false) {
        Blocked::Confirmed => Ok(()),
        Blocked::Unconfirmed(hung) => Err(Why::Mapping(hung.to_string())),
    };
    let stored = edu.store(&Kernel, victim.iova(), PAGE).map_err(Why::Device);
    let kept = if victim.holds(5) { Ok(()) } else { Err(Why::Reached) };
    checks.check(format_args!("removed-reaches-nothing@{}", edu.function), confirmed.and(stored).and(kept));
    Ok(())
}
