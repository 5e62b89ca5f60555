//! Register-based invalidation (6.5.1), for units without a queue: one at a time, each waited for. Legacy mode only.

use super::capability::Manner;
use super::descriptor::Command;
use super::global_command::Unit;
use super::ranges::Block;
use ioward_core::driver::Hung;
use ioward_spec::vtd::registers::{self as spec, ccmd, granularity, iotlb, iva};
use ioward_types::{Mmio, Nanos, Platform};

/// The context command register, and where the IOTLB registers are.
pub(super) struct InvalidationRegisters {
    /// Offset of IVA; the IOTLB invalidate register is behind it.
    pub iotlb_at: usize,
    pub manner: Manner,
}

const CONTEXT: &str = "a context-cache invalidation (CCMD.ICC)";
const IOTLB: &str = "an IOTLB invalidation (IOTLB.IVT)";

impl InvalidationRegisters {
    /// Has one thing forgotten, and waits until it is.
    pub fn run<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>, command: &Command) -> Result<(), Hung> {
        match *command {
            Command::Contexts => self.context(unit, ccmd::CIRG.put(granularity::GLOBAL)),
            Command::Context { source, domain } => self.context(
                unit,
                ccmd::CIRG.put(granularity::DEVICE)
                    | ccmd::SID.put(source.0.into())
                    | ccmd::DID.put(domain.into()),
            ),
            Command::Translations => self.iotlb(unit, iotlb::IIRG.put(granularity::GLOBAL)),
            Command::Domain { domain, block, leaf } => {
                let domain = iotlb::DID.put(domain.into());
                match block {
                    Block::All => self.iotlb(unit, domain | iotlb::IIRG.put(granularity::DOMAIN)),
                    Block::Of { at, log2 } => {
                        let address = iva::ADDR.in_place(at)
                            | iva::AM.put(log2.saturating_sub(12).into())
                            | iva::IH.put(leaf.into());
                        unit.registers.write64(self.iotlb_at + spec::IVA_FROM_IRO, address);
                        self.iotlb(unit, domain | iotlb::IIRG.put(granularity::PAGE))
                    }
                }
            }
            // A unit without a queue has none of these caches.
            Command::Pasids
            | Command::Pasid(_)
            | Command::Behind { .. }
            | Command::Device { .. }
            | Command::Interrupts
            | Command::Interrupt { .. }
            | Command::Respond { .. } => Ok(()),
        }
    }

    fn context<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>, command: u64) -> Result<(), Hung> {
        let done = |value| ccmd::CAIG.of(value) != 0;
        start(unit, spec::CCMD, ccmd::ICC.mask(), command, CONTEXT, done)
    }

    fn iotlb<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>, command: u64) -> Result<(), Hung> {
        let command = command
            | iotlb::DR.put(self.manner.drain_reads.into())
            | iotlb::DW.put(self.manner.drain_writes.into());
        let done = |value| iotlb::IAIG.of(value) != 0;
        start(unit, self.iotlb_at + spec::IOTLB_FROM_IRO, iotlb::IVT.mask(), command, IOTLB, done)
    }
}

/// Writes a command that is under way while `busy` reads set, and asks `done` what hardware made of it.
fn start<M: Mmio, P: Platform>(
    unit: &Unit<M, P>,
    at: usize,
    busy: u64,
    command: u64,
    what: &'static str,
    done: impl Fn(u64) -> bool,
) -> Result<(), Hung> {
    let mut value = 0;
    let mut idle = || {
        value = unit.registers.read64(at);
        value & busy == 0
    };
    // One that was given up may still be under way.
    unit.wait(what, &mut idle)?;
    unit.platform.fence();
    unit.registers.write64(at, busy | command);
    unit.wait(what, &mut idle)?;
    if done(value) { Ok(()) } else { Err(unit.hung(what, Nanos(0))) }
}
