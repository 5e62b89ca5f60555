//! The model against structures written by hand: every context, entry, command and record here is a literal word.

mod ats;
mod caching;
mod commands;
mod contexts;
mod directory;
mod first_stage;
mod hostile;
mod interrupts;
mod msi;
mod page_requests;
mod queues;
mod registers;
mod rig;
mod second_stage;
