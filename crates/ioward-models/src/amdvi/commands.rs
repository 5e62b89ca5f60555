//! The command buffer: fetching, checking, executing (48882 §2.4).

use super::{
    cache::{Invalidation, Iotlb, Pages, Range},
    log::record,
    ppr::Answer,
    unit::Unit,
};
use ioward_spec::{
    Field,
    amdvi::{
        commands::{self as cmd, *},
        control, events,
        registers::status,
    },
};
use ioward_types::{Pasid, PhysAddr, SourceId};

impl Unit {
    /// Runs until the buffer is empty, stopped or hung.
    pub fn run_commands(&mut self) {
        while !self.hung && !self.stalled && self.registers.has(status::CMD_BUF_RUN) {
            let ring = self.registers.commands;
            if ring.head == ring.tail {
                return;
            }
            let at = ring.address() + ring.head;
            let read = |n: u64| self.read(PhysAddr(at + 8 * n), true);
            let words = match (read(0), read(1)) {
                (Ok(low), Ok(high)) => [low, high],
                _ => {
                    self.violation("48882 §2.4", format!("the command buffer at {at:#x} is not in memory"));
                    return self.stop_commands(events::COMMAND_HARDWARE_ERROR, at);
                }
            };
            let execute = self.filter.as_mut().is_none_or(|filter| filter(self.commands, &words));
            self.commands += 1;
            if execute && let Err(why) = self.execute(&words, at) {
                self.violation("48882 §2.5.6", format!("illegal command {words:#018x?} at {at:#x}: {why}"));
                return self.stop_commands(events::ILLEGAL_COMMAND_ERROR, at);
            }
            if self.stalled {
                return;
            }
            self.registers.commands.head = ring.after(ring.head);
        }
    }

    fn execute(&mut self, words: &[u64; 2], at: u64) -> Result<(), &'static str> {
        let config = &self.config;
        let (reserved, supported) = match OPCODE.get(words) {
            COMPLETION_WAIT => (completion_wait::RESERVED, true),
            INVALIDATE_DEVTAB_ENTRY | INVALIDATE_INTERRUPT_TABLE => (invalidate_device::RESERVED, true),
            INVALIDATE_IOMMU_PAGES => (invalidate_pages::RESERVED, true),
            INVALIDATE_IOTLB_PAGES => (invalidate_iotlb::RESERVED, config.iotlb),
            PREFETCH_IOMMU_PAGES => (prefetch::RESERVED, config.prefetch),
            COMPLETE_PPR_REQUEST => (complete_ppr::RESERVED, config.page_requests),
            INVALIDATE_IOMMU_ALL => (invalidate_all::RESERVED, config.invalidate_all),
            _ => return Err("no such command"),
        };
        if !supported {
            return Err("the extended features lack it");
        }
        if words[0] & reserved[0] != 0 || words[1] & reserved[1] != 0 {
            return Err("a reserved bit is set");
        }
        let device = |field: Field| field.get(words) as u16;
        match OPCODE.get(words) {
            COMPLETION_WAIT => self.completion_wait(words),
            INVALIDATE_DEVTAB_ENTRY => {
                self.issue(Invalidation::Device(device(invalidate_device::DEVICE_ID)));
            }
            INVALIDATE_IOMMU_PAGES => {
                use invalidate_pages::*;
                let guest = GN.is_set(words);
                if guest && !self.config.guest_translation {
                    return Err("GN without guest translation");
                }
                if !guest && PASID.is_set(words) {
                    return Err("a PASID without GN");
                }
                let space = (device(DOMAIN_ID), guest.then(|| PASID.get(words) as u32));
                let range = Range::of_command(ADDRESS.get_in_place(words), S.is_set(words));
                self.issue(Invalidation::Pages(Pages { space, range, directories: PDE.is_set(words) }));
            }
            INVALIDATE_IOTLB_PAGES => {
                use invalidate_iotlb::*;
                let guest = GN.is_set(words);
                let pasid = PASID_7_0.get(words) | PASID_15_8.get(words) << 8 | PASID_19_16.get(words) << 16;
                if !guest && pasid != 0 {
                    return Err("a PASID without GN");
                }
                if TYPE.is_set(words) {
                    return Err("Type without EFR.InvIotlbTypeSup");
                }
                self.issue(Invalidation::Iotlb(Iotlb {
                    source: SourceId(DEVICE_ID.get(words) as u32),
                    pasid: guest.then_some(pasid as u32),
                    range: Range::of_command(ADDRESS.get_in_place(words), S.is_set(words)),
                    command: at,
                }));
            }
            INVALIDATE_IOMMU_ALL => self.issue(Invalidation::All),
            COMPLETE_PPR_REQUEST => {
                use complete_ppr::*;
                self.answers.push(Answer {
                    source: SourceId(DEVICE_ID.get(words) as u32),
                    pasid: GN.is_set(words).then(|| Pasid(PASID.get(words) as u32)),
                    group: COMPLETION_TAG.get(words) as u16,
                    status: COMPLETION_STATUS.get(words) as u8,
                });
            }
            cmd::INVALIDATE_INTERRUPT_TABLE => {
                self.issue(Invalidation::Interrupts(device(invalidate_device::DEVICE_ID)));
            }
            // Prefetching is a hint (§2.4.6).
            cmd::PREFETCH_IOMMU_PAGES => {}
            _ => return Err("no such command"),
        }
        Ok(())
    }

    fn issue(&mut self, what: Invalidation) {
        self.pending.push(what);
        if !self.config.lazy {
            self.settle();
        }
    }

    /// Everything before it has completed when it stores or interrupts (§2.4.1).
    fn completion_wait(&mut self, words: &[u64; 2]) {
        use completion_wait::*;
        self.settle();
        if self.stalled {
            return;
        }
        if S.is_set(words) {
            let at = PhysAddr(STORE_ADDRESS.get_in_place(words));
            if self.store(at, STORE_DATA.get(words)).is_err() {
                self.violation(
                    "48882 §2.4.1",
                    format!("COMPLETION_WAIT stores to {at}, where there is no memory"),
                );
            }
        }
        if I.is_set(words) {
            self.registers.set_status(status::COM_WAIT_INT, true);
            if self.registers.is(control::COM_WAIT_INT_EN) {
                self.interrupts += 1;
            }
        }
    }

    /// A device did not answer an invalidation (§2.5.8): an event after the time of control.InvTimeout, or waiting for
    /// ever where that is zero.
    pub fn iotlb_timeout(&mut self, what: &Iotlb) {
        if control::INV_TIMEOUT.of(self.registers.control) == control::inv_timeout::NONE {
            self.stalled = true;
            return;
        }
        let mut words = record(events::IOTLB_INV_TIMEOUT);
        events::DEVICE_ID.set(&mut words, what.source.0.into());
        events::ADDRESS.set(&mut words, what.command & events::ADDRESS_63_4.mask());
        self.log(words);
    }
}
