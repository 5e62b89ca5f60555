//! What goes into the entries of sources and PASIDs.

use super::{
    SmmuV3, cd,
    cd_table::Written,
    claimed::Claimed,
    command,
    driver::Entries,
    geometry::Walk,
    ste::{self, WithoutPasid},
    stream_table::StreamTable,
    tag::{Meaning, Stage},
};
use ioward_core::driver::{AtcTarget, Blocked, Hung, Refused, Slot, Translation};
use ioward_types::{Mmio, Nanos, Pasid, Platform, Root, TableConfig, Tag};

/// The descriptor of requests without a PASID.
const NONE: Pasid = Pasid(0);

/// A translation that has been checked.
enum Checked {
    Identity,
    One { walk: Walk, asid: u16 },
    Two { walk: Walk, vmid: u16, shape: TableConfig },
}

impl<M: Mmio, P: Platform> SmmuV3<M, P> {
    /// The meaning of a tag that has been given out.
    pub(super) fn live(&self, tag: Tag) -> Option<Meaning> {
        let meaning = Meaning::decode(tag)?;
        let tags = self.tags.lock();
        let numbers = match meaning.stage {
            Stage::One => &tags.asids,
            Stage::Two => &tags.vmids,
        };
        numbers.is_given(meaning.id).then_some(meaning)
    }

    fn check(&self, what: &Translation<'_>) -> Result<Checked, Refused> {
        match *what {
            Translation::Identity => Ok(Checked::Identity),
            Translation::Table { root, config, tag } | Translation::Foreign { root, config, tag } => {
                self.check_table(root, config, tag)
            }
            _ => Err(Refused::Unsupported { iommu: self.id, what: "mapping by request" }),
        }
    }

    fn check_table(&self, root: Root, config: &TableConfig, tag: Tag) -> Result<Checked, Refused> {
        let walk = self.features.walk(self.id, root, config)?;
        let what = "its tag was not given out for tables of this shape";
        let misfit = Refused::Shape { iommu: self.id, table: config.format, what };
        let tag = self.live(tag).filter(|tag| tag.fits(config)).ok_or(misfit)?;
        Ok(match tag.stage {
            Stage::One => Checked::One { walk, asid: tag.id },
            Stage::Two => Checked::Two { walk, vmid: tag.id, shape: *config },
        })
    }

    /// After a wait was given up memory is right, but caches may not be; they must be before anything relies on them.
    fn settle(&self, claimed: &mut Claimed<P>) -> Result<(), Hung> {
        if claimed.unconfirmed {
            self.run(&[command::cfgi_ste(claimed.source)])?;
            if claimed.ats {
                self.forget_device(claimed.source, claimed.pasid_bits)?;
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
        let Entries { table, slots } = entries;
        let claimed = slots.get(self.id, slot)?;
        let checked = self.check(what)?;
        match &checked {
            Checked::One { .. } => {
                if claimed.cds.is_none() {
                    claimed.cds = Some(self.new_cds(claimed.pasid_bits)?);
                }
                if let Some(cds) = &mut claimed.cds {
                    cds.ensure(NONE)?;
                }
            }
            Checked::Two { shape, .. } if !claimed.pasids.is_empty() => {
                let what = "stage 2 cannot coexist with the PASIDs that are installed";
                return Err(Refused::Shape { iommu: self.id, table: shape.format, what });
            }
            _ => {}
        }
        let source = claimed.source;
        let was_open = ste::is_open(&table.read(source));
        let mut done = self.settle(claimed).and_then(|()| self.write_source(table, claimed, &checked));
        if done.is_ok() && was_open && claimed.ats {
            // What requests with a PASID reach has not changed.
            done = self.run(&[command::atc_inv_all(AtcTarget { source, pasid: None })]);
        }
        // What was asked for and given up may be in caches still, whatever memory says.
        claimed.unconfirmed |= done.is_err();
        done.map_err(|hung| {
            let _ = self.block_source(entries, slot, false);
            hung.into()
        })
    }

    fn entry(
        &self,
        claimed: &Claimed<P>,
        cds: &super::cd_table::CdTable<P>,
        rest: WithoutPasid,
    ) -> super::entry::Words {
        ste::stage_1(cds.pointer(), rest, self.flusher.vmid, claimed.ats, self.features.coherent)
    }

    fn write_source(
        &self,
        table: &mut StreamTable<P>,
        claimed: &mut Claimed<P>,
        checked: &Checked,
    ) -> Result<(), Hung> {
        let source = claimed.source;
        let mut run = |commands: &[command::Command]| self.run(commands);
        match checked {
            Checked::Identity => {
                let Some(cds) = claimed.cds.as_ref().filter(|_| claimed.pasid_bits > 0) else {
                    return table.write(source, &ste::bypass(), &mut run);
                };
                table.write(source, &self.entry(claimed, cds, WithoutPasid::Identity), &mut run)?;
                // With S1DSS 0b01 a request with PASID 0 would use descriptor 0 (5.2).
                cds.block(source, NONE, &mut run)
            }
            Checked::One { walk, asid } => {
                let Some(mut cds) = claimed.cds.take() else { return Ok(()) };
                let new = cd::translate(walk, *asid, self.features.stall_forced);
                let reachable = ste::without_pasid(&table.read(source)).is_some();
                let written = cds.write(source, NONE, &new, reachable, &mut run);
                let entry = self.entry(claimed, &cds, WithoutPasid::Translated);
                claimed.cds = Some(cds);
                let written = written?;
                table.write(source, &entry, &mut run)?;
                free(written);
                Ok(())
            }
            Checked::Two { walk, vmid, .. } => {
                let new = ste::stage_2(walk, *vmid, claimed.ats, self.features.stall_forced);
                table.write(source, &new, &mut run)?;
                // Nothing old may be there when the entry leads to the descriptors again. There are no PASIDs.
                if let Some(cds) = &claimed.cds {
                    cds.clear();
                }
                Ok(())
            }
        }
    }

    pub(super) fn install_pasid(
        &self,
        entries: &mut Entries<P>,
        slot: &Slot,
        pasid: Pasid,
        what: &Translation<'_>,
    ) -> Result<(), Refused> {
        let iommu = self.id;
        let Entries { table, slots } = entries;
        let claimed = slots.get(iommu, slot)?;
        let unsupported = |what| Err(Refused::Unsupported { iommu, what });
        let needs = (32 - pasid.0.leading_zeros()) as u8;
        if needs > claimed.pasid_bits {
            return Err(Refused::Pasid { iommu, has: claimed.pasid_bits, needs });
        }
        if pasid == NONE {
            return unsupported("PASID 0, which stands for requests without a PASID");
        }
        let (walk, asid) = match self.check(what)? {
            Checked::Identity => return unsupported("identity behind a PASID"),
            Checked::Two { .. } => return unsupported("stage 2 behind a PASID"),
            Checked::One { walk, asid } => (walk, asid),
        };
        let now = table.read(claimed.source);
        if ste::is_open(&now) && ste::without_pasid(&now).is_none() {
            return unsupported("PASIDs beside a stage 2 table");
        }
        if claimed.cds.is_none() {
            claimed.cds = Some(self.new_cds(claimed.pasid_bits)?);
        }
        if let Some(cds) = &mut claimed.cds {
            cds.ensure(pasid)?;
        }
        let done = self.settle(claimed).and_then(|()| self.write_pasid(table, claimed, pasid, &walk, asid));
        claimed.unconfirmed |= done.is_err();
        done.map_err(|hung| {
            let _ = self.block_pasid(entries, slot, pasid);
            hung.into()
        })
    }

    fn write_pasid(
        &self,
        table: &mut StreamTable<P>,
        claimed: &mut Claimed<P>,
        pasid: Pasid,
        walk: &Walk,
        asid: u16,
    ) -> Result<(), Hung> {
        let source = claimed.source;
        let Some(mut cds) = claimed.cds.take() else { return Ok(()) };
        let mut run = |commands: &[command::Command]| self.run(commands);
        let replaces = !claimed.pasids.insert(pasid);
        let new = cd::translate(walk, asid, self.features.stall_forced);
        let rest = ste::without_pasid(&table.read(source));
        let written = cds.write(source, pasid, &new, rest.is_some(), &mut run);
        let rest = rest.unwrap_or(WithoutPasid::Blocked);
        let entry = self.entry(claimed, &cds, rest);
        claimed.cds = Some(cds);
        let written = written?;
        table.write(source, &entry, &mut run)?;
        free(written);
        if replaces && claimed.ats {
            self.run(&[command::atc_inv_all(AtcTarget { source, pasid: Some(pasid) })])?;
        }
        Ok(())
    }

    /// Blocks a source and every PASID behind it. `gone`: nothing is sent to the device.
    pub(super) fn block_source(&self, entries: &mut Entries<P>, slot: &Slot, gone: bool) -> Blocked {
        let Entries { table, slots } = entries;
        let Ok(claimed) = slots.get(self.id, slot) else { return self.not_claimed() };
        let source = claimed.source;
        let was_open = ste::is_open(&table.read(source));
        let mut done = table.block(source, &mut |commands| self.run(commands));
        if claimed.unconfirmed && done.is_ok() {
            done = self.run(&[command::cfgi_ste(source)]);
        }
        if let Some(cds) = &claimed.cds {
            cds.clear();
        }
        let pasids = core::mem::take(&mut claimed.pasids);
        if done.is_ok() && claimed.ats && !gone {
            done = match claimed.unconfirmed {
                true => self.forget_device(source, claimed.pasid_bits),
                false if was_open => {
                    let all = pasids.into_iter().map(Some).chain([None]);
                    let all = all.map(|pasid| command::atc_inv_all(AtcTarget { source, pasid }));
                    self.commands.lock().run(&self.platform, &self.registers, all)
                }
                false => Ok(()),
            };
        }
        claimed.unconfirmed = done.is_err();
        done.map_or_else(Blocked::Unconfirmed, |()| Blocked::Confirmed)
    }

    pub(super) fn block_pasid(&self, entries: &mut Entries<P>, slot: &Slot, pasid: Pasid) -> Blocked {
        let Ok(claimed) = entries.slots.get(self.id, slot) else { return self.not_claimed() };
        let source = claimed.source;
        let Some(cds) = &claimed.cds else { return Blocked::Confirmed };
        if !claimed.pasids.remove(&pasid) && !claimed.unconfirmed {
            return Blocked::Confirmed;
        }
        let mut done = cds.block(source, pasid, &mut |commands| self.run(commands));
        if claimed.unconfirmed && done.is_ok() {
            done = self.run(&[command::cfgi_ste(source)]);
        }
        if done.is_ok() && claimed.ats {
            done = self.run(&[command::atc_inv_all(AtcTarget { source, pasid: Some(pasid) })]);
        }
        claimed.unconfirmed |= done.is_err();
        done.map_or_else(Blocked::Unconfirmed, |()| Blocked::Confirmed)
    }

    fn not_claimed(&self) -> Blocked {
        Blocked::Unconfirmed(self.registers.patience.hung("a slot that is not claimed here", Nanos(0)))
    }
}

fn free<P: Platform>(written: Written<P>) {
    if let Written::Moved(Some(old)) = written {
        // SAFETY: the entry points elsewhere, and the SMMU has forgotten what it was: its change has completed.
        unsafe { old.free() }
    }
}
