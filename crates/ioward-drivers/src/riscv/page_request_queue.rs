//! The page-request queue (3.3).

use super::{output_queue::Kind, registers::QueueCsr};
use ioward_spec::riscv::registers as spec;

/// Its registers.
pub(super) const KIND: Kind = Kind {
    base: "pqb",
    base_at: spec::PQB,
    head_at: spec::PQH,
    tail_at: spec::PQT,
    csr: QueueCsr::PAGE_REQUEST,
    tail_out_of_range: "pqt out of range",
    memory_fault: "pqcsr.pqmf",
    not_on: "pqcsr.pqon is clear",
};
