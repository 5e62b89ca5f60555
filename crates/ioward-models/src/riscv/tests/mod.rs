//! The model against structures written by hand: every context, entry, command and record here is a literal word.
