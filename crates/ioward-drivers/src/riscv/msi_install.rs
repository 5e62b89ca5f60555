//! MSI page tables beside second stages (2.1.3.5, 6.3.3).

use super::{
    RiscVIommu, command,
    driver::Entries,
    msi::{self, MsiTable, MsiTarget, MsiWindow},
    tag::{Meaning, Stage},
};
use core::sync::atomic::Ordering;
use ioward_core::driver::{AtcTarget, Hung, Refused, Slot};
use ioward_spec::riscv::msi::V;
use ioward_types::{Mmio, Platform, Span, Tag};

impl<M: Mmio, P: Platform> RiscVIommu<M, P> {
    /// An MSI page table for the guest whose second stage has this tag; messages to every file are refused.
    ///
    /// # Errors
    /// [`Refused::Unsupported`] where the IOMMU has no MSI page tables (`capabilities.MSI_FLAT`), where the tag is not of a
    /// second stage, or where the window is not within guest physical addresses.
    pub fn msi_table(&self, tag: Tag, window: MsiWindow) -> Result<MsiTable<P>, Refused> {
        let iommu = self.id;
        let unsupported = |what| Refused::Unsupported { iommu, what };
        if !self.features.msi_flat {
            return Err(unsupported("MSI page tables (MSI_FLAT)"));
        }
        msi::check_window(window, self.features.guest_bits()).map_err(unsupported)?;
        match self.live(tag) {
            Some(Meaning { stage: Stage::Second, id }) => {
                Ok(MsiTable::new(iommu, &self.platform, self.reach, window, id)?)
            }
            _ => Err(unsupported("an MSI page table without a second stage")),
        }
    }

    /// Whether MSI page-table entries can name memory-resident interrupt files (`capabilities.MSI_MRIF`).
    pub fn has_memory_resident_files(&self) -> bool {
        self.features.msi_mrif
    }

    /// Makes accesses of a source to interrupt files go where an MSI page table says, instead of where its second stage
    /// says; none: where its second stage says. It holds until something other than that second stage is installed.
    ///
    /// # Errors
    /// [`Refused::Unsupported`] where the source does not have the second stage that the table was made for. On
    /// [`Refused::Hung`] the source is blocked.
    ///
    /// # Safety
    /// The source's devices may write to whatever the table's entries name, until it is taken out or the source is blocked,
    /// confirmed so. The table is given back by nothing but [`RiscVIommu::free_msi_table`].
    pub unsafe fn install_msi_table(&self, slot: &Slot, table: Option<&MsiTable<P>>) -> Result<(), Refused> {
        let iommu = self.id;
        let mut entries = self.entries.lock();
        let Entries { directory, slots } = &mut *entries;
        let claimed = slots.get(iommu, slot)?;
        let msi = table.map(MsiTable::pointer);
        let second = claimed.rid.gscid();
        if table.is_some_and(|table| table.iommu != iommu || Some(table.gscid) != second) {
            return Err(Refused::Unsupported { iommu, what: "an MSI page table without its second stage" });
        }
        if msi == claimed.msi {
            return Ok(());
        }
        claimed.msi = msi;
        let (source, ats) = (claimed.source, claimed.ats);
        let words = self.context(claimed);
        let mut done = directory.write(source, &words, &mut |commands| self.run(commands));
        if done.is_ok() && ats {
            done = self.run(&[command::atc_inval_all(AtcTarget { source, pasid: None })]);
        }
        claimed.unconfirmed |= done.is_err();
        done.map_err(|hung| {
            let _ = self.block_source(&mut entries, slot, false);
            hung.into()
        })
    }

    /// Makes an interrupt file be `to`; none: messages to it are refused. Messages go to the old target, the new one, or, in
    /// between two memory-resident files, are refused. `atc`: the devices that may have cached where the file is.
    ///
    /// # Errors
    /// [`Refused::Unsupported`] for a file that the table does not have, and for a target that the IOMMU cannot have;
    /// nothing is changed. On [`Refused::Hung`] messages may go to the old target still, until a later call for any file of
    /// the table succeeds.
    ///
    /// # Safety
    /// Devices of the guest may write to whatever `to` names, until the file is made something else, confirmed so.
    pub unsafe fn remap_msi(
        &self,
        table: &MsiTable<P>,
        file: u32,
        to: Option<MsiTarget>,
        atc: &[AtcTarget],
    ) -> Result<(), Refused> {
        let iommu = self.id;
        let unsupported = |what| Refused::Unsupported { iommu, what };
        if table.iommu != iommu {
            return Err(unsupported("an MSI page table of another IOMMU"));
        }
        if matches!(to, Some(MsiTarget::Memory { .. })) && !self.features.msi_mrif {
            return Err(unsupported("memory-resident interrupt files (MSI_MRIF)"));
        }
        let at = table.window.address_of(file).ok_or(unsupported("an interrupt file beyond the table"))?;
        let new = msi::encode(to).map_err(unsupported)?;
        // Whoever changes entries takes turns with whoever changes contexts.
        let _entries = self.entries.lock();
        let old = table.read(file);
        let forget = || {
            table.memory.publish();
            let tag = Meaning { stage: Stage::Second, id: table.gscid };
            self.run(&[command::inval_pages(tag, at, 0, false)])
        };
        // What was not confirmed is owed until it is: what memory says now says nothing of it.
        let owed = table.owed.swap(true, Ordering::Relaxed);
        let done = || -> Result<(), Hung> {
            if owed {
                self.run(&[command::inval_tag(Meaning { stage: Stage::Second, id: table.gscid })])?;
            }
            let was = table.target(file);
            // In basic translate mode the second word is ignored (AIA 9.5.1), and so it is while V is 0.
            let counts = matches!(was, Some(MsiTarget::Memory { .. }));
            let later = matches!(to, Some(MsiTarget::Memory { .. }));
            if later && old[1] != new[1] {
                if counts {
                    table.store(file, 0, 0);
                    forget()?;
                }
                table.store(file, 1, new[1]);
                forget()?;
            }
            let now = table.read(file)[0];
            if now != new[0] {
                table.store(file, 0, new[0]);
                table.memory.publish();
                // What was not valid is not cached (2.7).
                if V.of(now) != 0 {
                    forget()?;
                }
            }
            self.platform.fence();
            // Of a file in memory a device gets no translation that it could cache (2.6).
            let cached = owed || matches!(was, Some(MsiTarget::File(_)));
            let Some(span) = Span::new(at, 0x1000).filter(|_| cached) else { return Ok(()) };
            let targets = atc.iter().map(|target| match owed {
                true => command::atc_inval_all(*target),
                false => command::atc_inval(*target, &span),
            });
            self.commands.lock().run(&self.platform, &self.registers, targets)
        };
        done()?;
        table.owed.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the memory of an MSI page table back.
    ///
    /// # Safety
    /// No source has it installed: each had another, or none, installed since, or was blocked, confirmed so.
    pub unsafe fn free_msi_table(&self, table: MsiTable<P>) {
        // SAFETY: no device context points at it, as promised by the caller, and changes of contexts wait for IOFENCE.C.
        unsafe { table.memory.free() }
    }
}
