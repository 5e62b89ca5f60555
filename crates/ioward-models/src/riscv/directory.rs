//! Locating and caching device contexts and process contexts, and the rules for changing them (2.3.1, 2.3.2, 2.8, 2.9).

use super::{
    context::{DeviceContext, ProcessContext},
    state::{Seen, State},
    translate::{Asker, Fault},
};
use ioward_spec::riscv::{
    device::{self as d, ddte},
    fault::cause,
    process::{self as p, pdte},
    registers::ddtp,
};

/// How many process contexts are fetched without being asked for.
const PREFETCHED: u32 = 4;

impl State {
    /// A device's context: from the cache, else from memory. It is valid and well-formed.
    pub(super) fn device_context(&mut self, device: u32) -> Result<DeviceContext, Fault> {
        if self.poison.contexts.as_ref().is_some_and(|clean| !clean.contains(&device)) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 5.5",
                format!("device {device:#x} hits a context cached before: IODIR.INVAL_DDT is missing"),
            );
            let mut words = [0; d::EXTENDED_WORDS];
            d::V.set(&mut words, 1);
            return Ok(DeviceContext(words));
        }
        self.know(device, None);
        let context = match self.dcs.get(&device) {
            Some(context) => *context,
            None => self.load_device(device)?,
        };
        match context.misconfigured(&self.features, self.regs.fctl) {
            None => Ok(context),
            Some(_) => Err(Fault::of(cause::DDT_MISCONFIGURED)),
        }
    }

    /// What is wrong with a device's context as it was read last, in words.
    pub(super) fn explain(&self, device: u32) -> Option<&'static str> {
        let seen = self.seen_dcs.get(&device)?;
        if !seen.what.is_valid() { None } else { seen.what.misconfigured(&self.features, self.regs.fctl) }
    }

    /// Whether the directory has a place for a device_id in its present mode.
    pub(super) fn device_fits(&self, device: u32) -> bool {
        let bits: u32 = self.features.device_index_bits().iter().take(self.levels()).sum();
        device >> bits.min(d::DEVICE_ID_BITS) == 0
    }

    fn load_device(&mut self, device: u32) -> Result<DeviceContext, Fault> {
        if !self.device_fits(device) {
            return Err(Fault::of(cause::TYPE_DISALLOWED));
        }
        let bits = self.features.device_index_bits();
        let big = self.is_big_endian();
        let mut table = ddtp::PPN.of(self.regs.ddtp) << 12;
        for level in (1..self.levels()).rev() {
            let below: u32 = bits[..level].iter().sum();
            let key = (level, device >> below);
            let entry = match self.ddtes.get(&key) {
                Some(entry) => *entry,
                None => {
                    let at = table + 8 * u64::from(device >> below & ((1 << bits[level]) - 1));
                    let entry = self.fetch(at, big).ok_or(Fault::of(cause::DDT_ACCESS))?;
                    if ddte::V.of(entry) == 1 {
                        self.ddtes.insert(key, entry);
                    }
                    entry
                }
            };
            if ddte::V.of(entry) == 0 {
                self.seen_dcs.remove(&device);
                return Err(Fault::of(cause::DDT_NOT_VALID));
            }
            if entry & !(ddte::V.mask() | ddte::PPN.mask()) != 0 {
                return Err(Fault::of(cause::DDT_MISCONFIGURED));
            }
            table = ddte::PPN.of(entry) << 12;
        }
        let bytes = self.features.context_bytes();
        let at = table + bytes * u64::from(device & ((1 << bits[0]) - 1));
        let mut words = [0; d::EXTENDED_WORDS];
        for (n, word) in words.iter_mut().enumerate().take(bytes as usize / 8) {
            *word = self.fetch(at + 8 * n as u64, big).ok_or(Fault::of(cause::DDT_ACCESS))?;
        }
        let context = DeviceContext(words);
        self.judge_device(device, at, &context);
        if !context.is_valid() {
            return Err(Fault::of(cause::DDT_NOT_VALID));
        }
        self.dcs.insert(device, context);
        Ok(context)
    }

    /// Compares a context with what hardware read last (2.9), and with others of its tag.
    fn judge_device(&mut self, device: u32, at: u64, context: &DeviceContext) {
        let before = self.seen_dcs.insert(device, Seen { at, what: *context });
        if !context.is_valid() {
            self.seen_pcs.retain(|(owner, _), _| *owner != device);
            return;
        }
        if d::CUSTOM.is_set(&context.0) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 2.1.3.1",
                format!("the context of device {device:#x} has custom bits of tc set"),
            );
        }
        if let Some(before) = before.filter(|before| before.at == at && before.what.is_valid() && self.eager)
        {
            let changed: Vec<usize> =
                (0..context.0.len()).filter(|&n| before.what.0[n] != context.0[n]).collect();
            if changed.len() > 1 {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 2.9",
                    format!(
                        "the context of device {device:#x} changed in doublewords {changed:?} while it was valid: an \
                         IOMMU may have read some of them old and some new"
                    ),
                );
            }
        }
        // What processes were seen hung from another directory, or from a context that was elsewhere.
        let word = d::FSC_PPN.word;
        if before.is_none_or(|before| before.at != at || before.what.0.get(word) != context.0.get(word)) {
            self.seen_pcs.retain(|(owner, _), _| *owner != device);
        }
        if context.misconfigured(&self.features, self.regs.fctl).is_some() {
            return;
        }
        let features = self.features;
        let second = |context: &DeviceContext| (context.second_width(&features), context.second_root());
        for (other, cached) in &self.dcs {
            let shared = *other != device
                && cached.misconfigured(&features, self.regs.fctl).is_none()
                && context.gscid(&features).is_some()
                && cached.gscid(&features) == context.gscid(&features);
            if shared && second(cached) != second(context) {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 2.1.3.2",
                    format!(
                        "devices {device:#x} and {other:#x} have GSCID {:#x} with different second stages",
                        context.get(d::GSCID)
                    ),
                );
            }
        }
        if !context.has(d::PDTV) {
            let first = context.first(&features);
            let pscid = context.get(d::PSCID) as u32;
            self.judge_pscid((device, None), context.gscid(&features), pscid, first);
        }
    }

    /// One PSCID, one first stage (2.2.3.2).
    fn judge_pscid(
        &self,
        who: (u32, Option<u32>),
        gscid: Option<u16>,
        pscid: u32,
        first: super::context::FirstRoot,
    ) {
        if first.width == 0 {
            return;
        }
        let features = &self.features;
        let devices =
            self.dcs.iter().filter(|(_, context)| !context.has(d::PDTV)).map(|(device, context)| {
                let tag = (context.gscid(features), context.get(d::PSCID) as u32);
                ((*device, None), tag, context.first(features))
            });
        let processes = self.pcs.iter().filter_map(|(&(device, process), context)| {
            let owner = self.dcs.get(&device)?;
            let tag = (owner.gscid(features), context.pscid());
            Some(((device, Some(process)), tag, context.first(features)))
        });
        for (other, tag, theirs) in devices.chain(processes) {
            if other != who && tag == (gscid, pscid) && theirs.width != 0 && theirs != first {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 2.2.3.2",
                    format!(
                        "contexts {who:x?} and {other:x?} have PSCID {pscid:#x} with different first stages"
                    ),
                );
            }
        }
    }

    /// A process's context: from the cache, else from memory, through the second stage where there is one.
    pub(super) fn process_context(
        &mut self,
        device: u32,
        owner: &DeviceContext,
        process: u32,
        asker: &Asker,
    ) -> Result<ProcessContext, Fault> {
        self.know(device, Some(process));
        let context = match self.pcs.get(&(device, process)) {
            Some(context) => *context,
            None => self.load_process(device, owner, process, asker)?,
        };
        if context.misconfigured(&self.features) {
            return Err(Fault::of(cause::PDT_MISCONFIGURED));
        }
        Ok(context)
    }

    fn load_process(
        &mut self,
        device: u32,
        owner: &DeviceContext,
        process: u32,
        asker: &Asker,
    ) -> Result<ProcessContext, Fault> {
        let big = owner.has(d::SBE);
        let mut table = owner.fsc_root();
        for level in (1..owner.process_levels(&self.features)).rev() {
            let below: u32 = p::INDEX_BITS[..level].iter().sum();
            let key = (device, level, process >> below);
            let entry = match self.pdtes.get(&key) {
                Some(entry) => *entry,
                None => {
                    let index = process >> below & ((1 << p::INDEX_BITS[level]) - 1);
                    let entry = self.fetch_process(owner, table + 8 * u64::from(index), big, asker)?;
                    if pdte::V.of(entry) == 1 {
                        self.pdtes.insert(key, entry);
                    }
                    entry
                }
            };
            if pdte::V.of(entry) == 0 {
                return Err(Fault::of(cause::PDT_NOT_VALID));
            }
            if entry & !(pdte::V.mask() | pdte::PPN.mask()) != 0 {
                return Err(Fault::of(cause::PDT_MISCONFIGURED));
            }
            table = pdte::PPN.of(entry) << 12;
        }
        let at = table + p::BYTES as u64 * u64::from(process & ((1 << p::INDEX_BITS[0]) - 1));
        let mut words = [0; p::WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = self.fetch_process(owner, at + 8 * n as u64, big, asker)?;
        }
        let context = ProcessContext(words);
        self.judge_process(device, owner, process, at, &context);
        if !context.is_valid() {
            return Err(Fault::of(cause::PDT_NOT_VALID));
        }
        self.pcs.insert((device, process), context);
        Ok(context)
    }

    fn fetch_process(
        &mut self,
        owner: &DeviceContext,
        at: u64,
        big: bool,
        asker: &Asker,
    ) -> Result<u64, Fault> {
        let at = if owner.second_width(&self.features) != 0 {
            // An access fault of the second stage is one of the directory's (2.3.2).
            self.through_second(owner, at, asker, false).map_err(|fault| match fault.cause {
                cause::INSTRUCTION_ACCESS | cause::READ_ACCESS | cause::WRITE_ACCESS => {
                    Fault::of(cause::PDT_ACCESS)
                }
                _ => fault,
            })?
        } else {
            at
        };
        self.fetch(at, big).ok_or(Fault::of(cause::PDT_ACCESS))
    }

    fn judge_process(
        &mut self,
        device: u32,
        owner: &DeviceContext,
        process: u32,
        at: u64,
        context: &ProcessContext,
    ) {
        let before = self.seen_pcs.insert((device, process), Seen { at, what: *context });
        if !context.is_valid() {
            return;
        }
        let torn = before.is_some_and(|before| {
            let changed = before.what.0.iter().zip(&context.0).filter(|(old, new)| old != new).count();
            before.at == at && before.what.is_valid() && self.eager && changed > 1
        });
        if torn {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 2.9",
                format!(
                    "the context of process {process:#x} of device {device:#x} changed in both doublewords while it was \
                     valid: an IOMMU may have read one old and one new"
                ),
            );
        }
        if !context.misconfigured(&self.features) {
            let first = context.first(&self.features);
            let gscid = owner.gscid(&self.features);
            self.judge_pscid((device, Some(process)), gscid, context.pscid(), first);
        }
    }

    /// Fetches what a device's directory entries reach and is not cached: hardware may, at any time (2.8).
    pub(super) fn prefetch(&mut self, device: u32) {
        if !self.eager || self.levels() == 0 || self.gone || self.poison.contexts.is_some() {
            return;
        }
        let context = match self.dcs.get(&device) {
            Some(context) => *context,
            None => match self.load_device(device) {
                Ok(context) => context,
                Err(_) => return,
            },
        };
        let levels = context.process_levels(&self.features);
        let misconfigured = context.misconfigured(&self.features, self.regs.fctl).is_some();
        if misconfigured || levels == 0 || context.second_width(&self.features) != 0 {
            return;
        }
        let bits: u32 = p::INDEX_BITS[..levels].iter().sum();
        let known = self.known.get(&device).cloned().unwrap_or_default();
        let more = (0..PREFETCHED).filter(|process| !known.contains(process));
        let all: Vec<u32> =
            known.iter().copied().chain(more).filter(|process| process >> bits == 0).collect();
        for process in all {
            if !self.pcs.contains_key(&(device, process)) {
                let asker = Asker::speculative(device, Some(process), 0);
                let _ = self.load_process(device, &context, process, &asker);
            }
        }
    }

    /// Prefetches for every device that is known to be there.
    pub(super) fn prefetch_all(&mut self) {
        for device in self.known.keys().copied().collect::<Vec<_>>() {
            self.prefetch(device);
        }
    }

    /// Looks for tables that hardware may still read but that have been freed.
    pub(super) fn audit(&self) {
        let freed = |at: u64| {
            let at = ioward_types::PhysAddr(at);
            self.memory.span().contains(at) && !self.memory.is_allocated(at)
        };
        for (space, table) in self.tlb.tables().filter(|(_, table)| freed(*table)) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 3.1.1",
                format!("the table at {table:#x} was freed while a walk may still go on from it ({space:?})"),
            );
        }
        for (key, entry) in self.ddtes.iter().filter(|(_, entry)| freed(ddte::PPN.of(**entry) << 12)) {
            self.wrong(
                "RISC-V IOMMU 1.0.1, 3.1.3",
                format!("device-directory entry {key:x?} is cached but its table {entry:#x} was freed"),
            );
        }
        for (device, context) in &self.dcs {
            if context.misconfigured(&self.features, self.regs.fctl).is_some() {
                continue;
            }
            let second = context.second_width(&self.features) != 0;
            let first = !second && (context.has(d::PDTV) || context.first(&self.features).width != 0);
            if first && context.get(d::FSC_MODE) != 0 && freed(context.fsc_root()) {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 3.1.3",
                    format!("the context of device {device:#x} is cached but its fsc was freed"),
                );
            }
            if second && freed(context.second_root()) {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 3.1.3",
                    format!("the context of device {device:#x} is cached but its iohgatp was freed"),
                );
            }
        }
        for ((device, process), context) in &self.pcs {
            let physical = self.dcs.get(device).is_some_and(|owner| owner.second_width(&self.features) == 0);
            let first = context.first(&self.features);
            if physical && first.width != 0 && freed(first.root) {
                self.wrong(
                    "RISC-V IOMMU 1.0.1, 3.1.3",
                    format!("the context of process {process:#x} of device {device:#x} is cached but its fsc was freed"),
                );
            }
        }
    }
}
