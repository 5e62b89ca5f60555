//! Invalidation, by queue or by register.

use super::descriptor::Command;
use super::global_command::Unit;
use super::invalidation_queue::InvalidationQueue;
use super::register_invalidation::InvalidationRegisters;
use alloc::boxed::Box;
use ioward_core::driver::Hung;
use ioward_types::{Mmio, Mutex, Platform};

/// How a unit is told to forget.
pub(super) enum Invalidation<P: Platform> {
    /// By queue.
    Queue(Box<Mutex<P::Lock, InvalidationQueue<P>>>),
    /// By register, one at a time.
    Registers(Mutex<P::Lock, InvalidationRegisters>),
}

/// Commands that are confirmed together.
pub(super) enum Batch<'b, M, P: Platform> {
    /// By queue.
    Queue { unit: &'b Unit<M, P>, queue: &'b mut InvalidationQueue<P>, any: bool },
    /// By register: each is done when it has been added.
    Registers { unit: &'b Unit<M, P>, registers: &'b InvalidationRegisters },
}

impl<M: Mmio, P: Platform> Batch<'_, M, P> {
    /// Adds a command.
    pub fn push(&mut self, command: Command) -> Result<(), Hung> {
        match self {
            Self::Queue { unit, queue, any } => {
                *any = true;
                queue.push(unit, &command)
            }
            Self::Registers { unit, registers } => registers.run(unit, &command),
        }
    }

    /// What is added later starts when what was added before is done.
    pub fn fence(&mut self) -> Result<(), Hung> {
        match self {
            Self::Queue { unit, queue, any: true } => queue.fence(unit),
            _ => Ok(()),
        }
    }
}

impl<P: Platform> Invalidation<P> {
    /// One batch, waited for. Nothing is done where there are no commands.
    pub fn run<M: Mmio>(
        &self,
        unit: &Unit<M, P>,
        fill: impl FnOnce(&mut Batch<'_, M, P>) -> Result<(), Hung>,
    ) -> Result<(), Hung> {
        match self {
            Self::Queue(queue) => {
                let mut queue = queue.lock();
                queue.begin();
                let mut batch = Batch::Queue { unit, queue: &mut queue, any: false };
                let filled = fill(&mut batch);
                let Batch::Queue { any, .. } = batch else { return filled };
                match filled {
                    Ok(()) if !any => Ok(()),
                    Ok(()) => queue.finish(unit),
                    Err(hung) => Err(hung),
                }
            }
            Self::Registers(registers) => {
                let registers = registers.lock();
                fill(&mut Batch::Registers { unit, registers: &registers })
            }
        }
    }
}
