//! What goes into the contexts of sources and PASIDs.

use super::{
    RiscVIommu,
    claimed::{Claimed, Rid},
    command,
    command::Command,
    device_context::{self as context, Allowed, WithoutPasid},
    device_directory::DeviceDirectory,
    driver::Entries,
    entry::Words,
    process_directory::{self, NONE, Written},
    tag::{Meaning, Stage},
};
use alloc::{vec, vec::Vec};
use ioward_core::driver::{AtcTarget, Blocked, Hung, Refused, Slot, Translation};
use ioward_spec::riscv::device;
use ioward_types::{Mmio, Nanos, Pasid, Platform, Root, SourceId, TableConfig, Tag};

impl<M: Mmio, P: Platform> RiscVIommu<M, P> {
    /// The meaning of a tag that has been given out.
    pub(super) fn live(&self, tag: Tag) -> Option<Meaning> {
        let meaning = Meaning::decode(tag)?;
        self.tags.lock().of(meaning.stage).is_given(meaning.id).then_some(meaning)
    }

    pub(super) fn check(&self, what: &Translation<'_>) -> Result<Rid, Refused> {
        match *what {
            Translation::Identity => Ok(Rid::Identity),
            Translation::Table { root, config, tag } | Translation::Foreign { root, config, tag } => {
                self.check_table(root, config, tag)
            }
            _ => Err(Refused::Unsupported { iommu: self.id, what: "mapping by request" }),
        }
    }

    fn check_table(&self, root: Root, config: &TableConfig, tag: Tag) -> Result<Rid, Refused> {
        let walk = self.features.walk(self.id, root, config)?;
        let what = "its tag was not given out for tables of this shape";
        let misfit = Refused::Shape { iommu: self.id, table: config.format, what };
        let tag = self.live(tag).filter(|tag| tag.fits(config)).ok_or(misfit)?;
        Ok(Rid::Table { walk, id: tag.id })
    }

    /// The device context that says what a source goes through.
    pub(super) fn context(&self, claimed: &Claimed<P>) -> Words {
        let allowed = Allowed { ats: claimed.ats, page_requests: self.page_requests.is_some() };
        let mut dirty = claimed.pasids.values().any(|dirty| *dirty);
        match (&claimed.rid, &claimed.directory) {
            (Rid::Table { walk, id }, _) if walk.stage == Stage::Second => {
                context::table(allowed, walk, *id, claimed.msi.as_ref())
            }
            (Rid::Nested { first, second }, _) => {
                let (first, second) = ((&first.0, first.1), (&second.0, second.1));
                context::nested(allowed, first, second, claimed.msi.as_ref())
            }
            (Rid::Blocked, None) => context::INVALID,
            (Rid::Blocked, Some(_)) if claimed.pasids.is_empty() => context::INVALID,
            (Rid::Identity, None) => context::identity(allowed),
            (Rid::Table { walk, id }, None) => context::table(allowed, walk, *id, None),
            (rid, Some(directory)) => {
                if let Rid::Table { walk, .. } = rid {
                    dirty |= walk.dirty;
                }
                let rest = match rid {
                    Rid::Identity => WithoutPasid::Identity,
                    _ => WithoutPasid::AsZero,
                };
                context::directory(allowed, directory.pdtp(), rest, dirty)
            }
        }
    }

    /// Everything that a device may have cached, whatever its PASIDs were.
    pub(super) fn whole_device(source: SourceId, pasids: bool) -> Vec<Command> {
        let mut commands = vec![command::atc_inval_all(AtcTarget { source, pasid: None })];
        if pasids {
            commands.push(command::atc_inval_global(source));
        }
        commands
    }

    /// Blocks a source, and has its device forget what `device` says. The context is written in either case.
    ///
    /// The device's answers are let through only while EN_ATS is set (2.1.3.1), so it is asked while its context leads to
    /// an empty table; what it still holds of translations reaches memory until it has answered, or until its context is no
    /// longer valid.
    pub(super) fn shut(
        &self,
        directory: &mut DeviceDirectory<P>,
        source: SourceId,
        device: &[Command],
    ) -> Result<(), Hung> {
        let mut run = |commands: &[Command]| self.run(commands);
        let forgotten = match &self.nothing {
            Some(nothing) if !device.is_empty() => {
                directory.write(source, nothing, &mut run).and_then(|()| self.run(device))
            }
            _ => Ok(()),
        };
        let blocked = directory.block(source, &mut run);
        forgotten.and(blocked)
    }

    /// After a wait was given up memory is right, but caches may not be; they must be before anything relies on them.
    pub(super) fn settle(
        &self,
        directory: &mut DeviceDirectory<P>,
        claimed: &mut Claimed<P>,
    ) -> Result<(), Hung> {
        if claimed.unconfirmed {
            self.run(&[command::inval_ddt(claimed.source)])?;
            if claimed.ats {
                let device = Self::whole_device(claimed.source, claimed.pasid_bits > 0);
                self.shut(directory, claimed.source, &device)?;
            }
            claimed.unconfirmed = false;
        }
        Ok(())
    }

    pub(super) fn install_source(
        &self,
        entries: &mut Entries<P>,
        slot: &Slot,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let Entries { directory, slots } = entries;
        let claimed = slots.get(self.id, slot)?;
        let new = self.check(what)?;
        if let (Translation::Table { config, .. } | Translation::Foreign { config, .. }, false) =
            (what, claimed.pasids.is_empty())
            && Stage::of(config.format) == Some(Stage::Second)
        {
            let what = "a second stage cannot coexist with the PASIDs that are installed";
            return Err(Refused::Shape { iommu: self.id, table: config.format, what });
        }
        let source = claimed.source;
        let was_open = context::is_valid(&directory.read(source));
        let settled = self.settle(directory, claimed);
        let mut done = settled.and_then(|()| self.write_source(directory, claimed, new));
        if done.is_ok() && was_open && claimed.ats {
            // What requests with a PASID reach has not changed.
            done = self.run(&[command::atc_inval_all(AtcTarget { source, pasid: None })]);
        }
        // What was asked for and given up may be in caches still, whatever memory says.
        claimed.unconfirmed |= done.is_err();
        self.leave_pair(claimed);
        done.map_err(|hung| {
            let _ = self.block_source(entries, slot, false);
            hung.into()
        })
    }

    pub(super) fn write_source(
        &self,
        directory: &mut DeviceDirectory<P>,
        claimed: &mut Claimed<P>,
        new: Rid,
    ) -> Result<(), Hung> {
        let source = claimed.source;
        let mut run = |commands: &[Command]| self.run(commands);
        let mut moved = None;
        let mut processes = claimed.directory.take();
        let mut done = Ok(());
        if let (Rid::Table { walk, id }, Some(processes)) = (&new, &mut processes)
            && walk.stage == Stage::First
        {
            let context = process_directory::table(walk, *id);
            let reachable = context::has_directory(&directory.read(source));
            let allowed = if walk.dirty { self.allow_dirty(directory, source) } else { Ok(()) };
            let written = allowed.and_then(|()| processes.write(source, NONE, &context, reachable, &mut run));
            done = written.map(|written| moved = moved_of(written));
        }
        claimed.directory = processes;
        done?;
        claimed.rid = new;
        let second = new.gscid();
        claimed.msi = claimed.msi.filter(|msi| Some(msi.gscid) == second);
        directory.write(source, &self.context(claimed), &mut run)?;
        if let Some(root) = moved {
            // SAFETY: the device context points elsewhere, and what it was has been forgotten: its change has completed.
            unsafe { root.free() }
        }
        match (&claimed.directory, new) {
            // Requests with process_id 0 would still go there.
            (Some(processes), Rid::Identity) => processes.block(source, NONE, &mut run),
            // Nothing old may be there when the context leads there again. There are no PASIDs.
            (Some(processes), _) if second.is_some() => {
                processes.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Has hardware set dirty state behind the process directory of a source before a table is there that relies on it.
    fn allow_dirty(&self, directory: &mut DeviceDirectory<P>, source: SourceId) -> Result<(), Hung> {
        let mut words = directory.read(source);
        if !context::has_directory(&words) {
            return Ok(());
        }
        device::SADE.set(&mut words, 1);
        directory.write(source, &words, &mut |commands| self.run(commands))
    }

    pub(super) fn install_pasid(
        &self,
        entries: &mut Entries<P>,
        slot: &Slot,
        pasid: Pasid,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let iommu = self.id;
        let Entries { directory, slots } = entries;
        let claimed = slots.get(iommu, slot)?;
        let unsupported = |what| Err(Refused::Unsupported { iommu, what });
        let needs = (32 - pasid.0.leading_zeros()) as u8;
        if needs > claimed.pasid_bits {
            return Err(Refused::Pasid { iommu, has: claimed.pasid_bits, needs });
        }
        if pasid == NONE {
            return unsupported("PASID 0, which stands for requests without a PASID");
        }
        let new = match self.check(what)? {
            Rid::Table { walk, id } if walk.stage == Stage::First => (walk, id),
            Rid::Table { .. } => return unsupported("a second stage behind a PASID"),
            _ => return unsupported("identity behind a PASID"),
        };
        if claimed.rid.gscid().is_some() {
            return unsupported("PASIDs beside a second stage of their source");
        }
        if let Some(processes) = &mut claimed.directory {
            processes.ensure(pasid)?;
        }
        let settled = self.settle(directory, claimed);
        let done = settled.and_then(|()| self.write_pasid(directory, claimed, pasid, new));
        claimed.unconfirmed |= done.is_err();
        done.map_err(|hung| {
            let _ = self.block_pasid(entries, slot, pasid);
            hung.into()
        })
    }

    fn write_pasid(
        &self,
        directory: &mut DeviceDirectory<P>,
        claimed: &mut Claimed<P>,
        pasid: Pasid,
        (walk, id): (super::plan::Walk, u32),
    ) -> Result<(), Hung> {
        let source = claimed.source;
        // A source that may have PASIDs has a directory from its claim on.
        let Some(mut processes) = claimed.directory.take() else { return Ok(()) };
        let mut run = |commands: &[Command]| self.run(commands);
        let replaces = claimed.pasids.insert(pasid, walk.dirty).is_some();
        let reachable = context::has_directory(&directory.read(source));
        let allowed = if walk.dirty { self.allow_dirty(directory, source) } else { Ok(()) };
        let context = process_directory::table(&walk, id);
        let written = allowed.and_then(|()| processes.write(source, pasid, &context, reachable, &mut run));
        claimed.directory = Some(processes);
        let moved = moved_of(written?);
        directory.write(source, &self.context(claimed), &mut run)?;
        if let Some(root) = moved {
            // SAFETY: the device context points elsewhere, and what it was has been forgotten: its change has completed.
            unsafe { root.free() }
        }
        if replaces && claimed.ats {
            self.run(&[command::atc_inval_all(AtcTarget { source, pasid: Some(pasid) })])?;
        }
        Ok(())
    }

    /// Blocks a source and every PASID behind it. `gone`: nothing is sent to the device.
    pub(super) fn block_source(&self, entries: &mut Entries<P>, slot: &Slot, gone: bool) -> Blocked {
        let Entries { directory, slots } = entries;
        let Ok(claimed) = slots.get(self.id, slot) else { return self.not_claimed() };
        let source = claimed.source;
        let pasids = core::mem::take(&mut claimed.pasids);
        let device = match claimed.ats && !gone {
            true if claimed.unconfirmed => Self::whole_device(source, claimed.pasid_bits > 0),
            true if context::is_valid(&directory.read(source)) => {
                let all = pasids.into_keys().map(Some).chain([None]);
                all.map(|pasid| command::atc_inval_all(AtcTarget { source, pasid })).collect()
            }
            _ => Vec::new(),
        };
        // What is in memory may be what a wait was given up over.
        let known = match claimed.unconfirmed {
            true => self.run(&[command::inval_ddt(source)]),
            false => Ok(()),
        };
        let done = self.shut(directory, source, &device).and(known);
        if let Some(processes) = &claimed.directory {
            processes.clear();
        }
        claimed.rid = Rid::Blocked;
        claimed.msi = None;
        claimed.unconfirmed = done.is_err();
        self.leave_pair(claimed);
        done.map_or_else(Blocked::Unconfirmed, |()| Blocked::Confirmed)
    }

    pub(super) fn block_pasid(&self, entries: &mut Entries<P>, slot: &Slot, pasid: Pasid) -> Blocked {
        let Entries { directory, slots } = entries;
        let Ok(claimed) = slots.get(self.id, slot) else { return self.not_claimed() };
        let source = claimed.source;
        let Some(processes) = &claimed.directory else { return Blocked::Confirmed };
        if claimed.pasids.remove(&pasid).is_none() && !claimed.unconfirmed {
            return Blocked::Confirmed;
        }
        let mut run = |commands: &[Command]| self.run(commands);
        let mut done = processes.block(source, pasid, &mut run);
        if claimed.unconfirmed && done.is_ok() {
            done = directory.forget_replaced(&mut run).and_then(|()| run(&[command::inval_ddt(source)]));
        }
        if done.is_ok() && claimed.ats {
            done = self.run(&[command::atc_inval_all(AtcTarget { source, pasid: Some(pasid) })]);
        }
        if done.is_err() {
            claimed.unconfirmed = true;
        }
        done.map_or_else(Blocked::Unconfirmed, |()| Blocked::Confirmed)
    }

    fn not_claimed(&self) -> Blocked {
        Blocked::Unconfirmed(self.registers.patience.hung("a slot that is not claimed here", Nanos(0)))
    }
}

fn moved_of<P: Platform>(written: Written<P>) -> Option<super::memory::Shared<P>> {
    match written {
        Written::Done => None,
        Written::Moved(root) => Some(root),
    }
}
