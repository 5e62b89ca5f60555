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
                        let register = self.iotlb_at + spec::IVA_FROM_IRO;
                        unit.registers.write64(register, address);
                        // Where it does not read as it was written, the whole domain is forgotten instead.
                        let known = unit.registers.read64(register) == address;
                        let asked = if known { granularity::PAGE } else { granularity::DOMAIN };
                        self.iotlb(unit, domain | iotlb::IIRG.put(asked))
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
        let register = Command64 {
            at: spec::CCMD,
            busy: ccmd::ICC.mask(),
            kept: ccmd::CIRG.mask() | ccmd::DID.mask(),
            domain: ccmd::DID.put(1),
            asked: ccmd::CIRG.mask(),
            what: CONTEXT,
        };
        match ccmd::CAIG.of(register.run(unit, command)?) {
            0 => Err(unit.hung(CONTEXT, Nanos(0))),
            _ => Ok(()),
        }
    }

    fn iotlb<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>, command: u64) -> Result<(), Hung> {
        let command = command
            | iotlb::DR.put(self.manner.drain_reads.into())
            | iotlb::DW.put(self.manner.drain_writes.into());
        let register = Command64 {
            at: self.iotlb_at + spec::IOTLB_FROM_IRO,
            busy: iotlb::IVT.mask(),
            kept: iotlb::IIRG.mask() | iotlb::DID.mask(),
            domain: iotlb::DID.put(1),
            asked: iotlb::IIRG.mask(),
            what: IOTLB,
        };
        match iotlb::IAIG.of(register.run(unit, command)?) {
            0 => Err(unit.hung(IOTLB, Nanos(0))),
            _ => Ok(()),
        }
    }
}

/// CCMD or the IOTLB invalidate register.
struct Command64 {
    at: usize,
    /// Starts a command, and reads set while it is under way.
    busy: u64,
    /// What reads as it was written: what is asked for, and the domain.
    kept: u64,
    /// The lowest bit of the domain.
    domain: u64,
    /// What is asked for.
    asked: u64,
    what: &'static str,
}

impl Command64 {
    /// Runs a command, and tells what the register reads then. It is first written without a command and with another
    /// domain, so that what it reads afterwards is known to be an answer to this command and not to one before it.
    fn run<M: Mmio, P: Platform>(&self, unit: &Unit<M, P>, command: u64) -> Result<u64, Hung> {
        let reads = |wanted: Option<u64>| {
            let mut value = 0;
            unit.wait(self.what, || {
                value = unit.registers.read64(self.at);
                value & self.busy == 0 && wanted.is_none_or(|wanted| value & self.kept == wanted & self.kept)
            })?;
            Ok(value)
        };
        // One that was given up may still be under way.
        reads(None)?;
        unit.platform.fence();
        let other = (command ^ self.domain) & !self.asked;
        unit.registers.write64(self.at, other);
        reads(Some(other))?;
        unit.registers.write64(self.at, self.busy | command);
        reads(Some(command))
    }
}
