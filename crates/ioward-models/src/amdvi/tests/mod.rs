//! The model against structures written by hand, in hexadecimal, with no driver and no encoder.

mod bench;
mod caching;
mod devices;
mod guest;
mod host;
mod interrupts;
mod queues;
