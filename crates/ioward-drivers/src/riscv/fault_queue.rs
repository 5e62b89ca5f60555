//! The fault queue (3.2).

use super::{output_queue::Kind, registers::QueueCsr};
use ioward_spec::riscv::registers as spec;

/// Its registers.
pub(super) const KIND: Kind = Kind {
    base: "fqb",
    base_at: spec::FQB,
    head_at: spec::FQH,
    tail_at: spec::FQT,
    csr: QueueCsr::FAULT,
    tail_out_of_range: "fqt out of range",
    memory_fault: "fqcsr.fqmf",
    not_on: "fqcsr.fqon is clear",
};
