//! The model against structures written by hand: every STE, CD, descriptor, command and record here is a literal word.

mod commands;
mod hostile;
mod judge;
mod registers;
mod rig;
mod stage1;
mod stage2;
mod streams;
