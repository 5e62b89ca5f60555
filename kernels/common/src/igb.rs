//! Intel's 82576 as QEMU's `igb` has it: a network card with virtual functions, which its internal switch connects (82576EB
//! datasheet, revision 2.87; sections are named where a register is).
//!
//! The physical function's part turns the switch on; a virtual function's part has one ring of descriptors each way.

use crate::{pci::Pci, script::Page, time::within};
use alloc::{format, string::String};
use ioward::{
    pci::Bdf,
    types::{Iova, Mmio as _, MmioPtr, Nanos},
};

/// Vendor in the lower half, device in the upper.
pub const ID: u32 = 0x10c9_8086;

/// Registers of the physical function (8.1.3).
mod physical {
    pub const CONTROL: usize = 0x0000;
    pub const STATUS: usize = 0x0008;
    pub const MDI: usize = 0x0020;
    pub const RECEIVE: usize = 0x0100;
    pub const TRANSMIT: usize = 0x0400;
    pub const VF_RECEIVE: usize = 0x0c8c;
    pub const VF_TRANSMIT: usize = 0x0c90;
    pub const SWITCH: usize = 0x3500;
    pub const ADDRESS: usize = 0x5400;
    pub const QUEUES: usize = 0x5818;
}
const RESET: u32 = 1 << 26;
const LINK_UP: u32 = 1 << 1;
/// Writes PHY register 0 of PHY 1 (8.2.4): negotiate, and begin now.
const NEGOTIATE: u32 = 1 << 26 | 1 << 21 | 0x1200;
const ENABLE: u32 = 1 << 1;
/// One pool of queues for each virtual function (8.10.6).
const POOLS: u32 = 3;
/// Frames between pools stay inside (8.2.30, Loopback_en).
const LOOPBACK: u32 = 1 << 31;

/// Registers of a virtual function (8.26): those of its first queue.
mod queue {
    pub const RECEIVE: usize = 0x2800;
    pub const TRANSMIT: usize = 0x3800;
    pub const LOW: usize = 0x00;
    pub const HIGH: usize = 0x04;
    pub const BYTES: usize = 0x08;
    /// Of the receive queue: how its buffers are split.
    pub const SPLIT: usize = 0x0c;
    pub const HEAD: usize = 0x10;
    pub const TAIL: usize = 0x18;
    pub const CONTROL: usize = 0x28;
}
const QUEUE_ENABLE: u32 = 1 << 25;
/// Advanced descriptors of one buffer of 2 KiB (8.10.2).
const ONE_BUFFER: u32 = 1 << 25 | 2;
/// Descriptors of a ring: the least, since a ring's length is a multiple of 128 bytes.
const DESCRIPTORS: u32 = 8;
/// Where the rings are in their page.
const SENT: usize = 0;
const RECEIVED: usize = 2048;
/// An advanced data descriptor, end of packet, with a report, frame check sequence inserted (7.2.2.3).
const SEND: u64 = 1 << 29 | 3 << 20 | 1 << 27 | 1 << 25 | 1 << 24;
/// The device has written a descriptor back.
const DONE: u64 = 1;
/// How long a reset, a link or a frame may take.
const LIMIT: Nanos = Nanos(3_000_000_000);
/// How long a frame may take from the sender's report to the receiver's.
const MOMENT: Nanos = Nanos(20_000_000);

/// Waits as long as that until `done`.
pub fn wait(what: &str, done: impl FnMut() -> bool) -> Result<(), String> {
    within(LIMIT, what, done)
}

/// A hardware address, of a virtual function by its number.
pub fn address(nth: usize) -> [u8; 6] {
    // Locally administered.
    [2, 0x69, 0x67, 0x62, 0, nth as u8]
}

/// The physical function.
pub struct Card(MmioPtr);

impl Card {
    /// Resets the card at `function`; its registers are behind its first base address register.
    pub fn new(pci: &Pci, function: Bdf) -> Result<Self, String> {
        let card = Self(pci.registers(function, 0).ok_or_else(|| format!("{function} has no registers"))?);
        card.0.write32(physical::CONTROL, card.0.read32(physical::CONTROL) | RESET);
        wait("the reset of the card", || card.0.read32(physical::CONTROL) & RESET == 0)?;
        card.0.write32(physical::MDI, NEGOTIATE);
        wait("the link", || card.0.read32(physical::STATUS) & LINK_UP != 0)?;
        Ok(card)
    }

    /// Lets the first `count` virtual functions send and receive, each under its own [`address`].
    pub fn switch(&self, count: usize) {
        let all = (1 << count) - 1;
        for nth in 0..count {
            let bytes = address(nth);
            let at = physical::ADDRESS + nth * 8;
            self.0.write32(at, u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            // Valid, and of this pool (8.10.16).
            let pool = 1 << 31 | 1 << (18 + nth);
            self.0.write32(at + 4, u32::from(bytes[4]) | u32::from(bytes[5]) << 8 | pool);
        }
        self.0.write32(physical::QUEUES, POOLS);
        self.0.write32(physical::SWITCH, LOOPBACK);
        self.0.write32(physical::VF_RECEIVE, all);
        self.0.write32(physical::VF_TRANSMIT, all);
        self.0.write32(physical::RECEIVE, ENABLE);
        self.0.write32(physical::TRANSMIT, ENABLE);
    }
}

/// A virtual function's two rings, in one page.
pub struct Rings {
    registers: MmioPtr,
    page: Page,
}

impl Rings {
    /// Rings in a page of their own, off until [`aim`](Self::aim).
    pub fn new(registers: MmioPtr) -> Self {
        Self { registers, page: Page::zeroed() }
    }

    /// The page, to be mapped to read and write.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// Starts both rings anew, empty, where the device sees them at `at`.
    pub fn aim(&self, at: Iova) {
        for (queue, offset) in [(queue::TRANSMIT, SENT), (queue::RECEIVE, RECEIVED)] {
            let at = at.0 + offset as u64;
            let write = |register, value| self.registers.write32(queue + register, value);
            write(queue::CONTROL, 0);
            write(queue::LOW, at as u32);
            write(queue::HIGH, (at >> 32) as u32);
            write(queue::BYTES, DESCRIPTORS * 16);
            write(queue::HEAD, 0);
            write(queue::TAIL, 0);
            if queue == queue::RECEIVE {
                write(queue::SPLIT, ONE_BUFFER);
            }
            write(queue::CONTROL, QUEUE_ENABLE);
        }
    }

    /// Writes a descriptor at the tail and moves the tail. Tells where the descriptor is in the page.
    fn push(&self, queue: usize, ring: usize, descriptor: [u64; 2]) -> usize {
        let tail = self.registers.read32(queue + queue::TAIL) % DESCRIPTORS;
        let at = ring + tail as usize * 16;
        self.page.write64(at, descriptor[0]);
        self.page.write64(at + 8, descriptor[1]);
        // `Mmio` orders the two: who sees the tail sees the descriptor.
        self.registers.write32(queue + queue::TAIL, (tail + 1) % DESCRIPTORS);
        at
    }

    /// Sends the `bytes` bytes, at most 2048, that the device sees at `from`; returns once the device says that it has.
    pub fn send(&self, from: Iova, bytes: u16) -> Result<(), String> {
        let at = self.start(from, bytes);
        // The upper half of the last eight bytes is the status (7.2.2.5).
        wait("a frame", || self.page.read64(at + 8) >> 32 & DONE != 0)
    }

    /// As [`send`](Self::send), and does not wait. Tells where the descriptor is in the page.
    pub fn start(&self, from: Iova, bytes: u16) -> usize {
        let bytes = u64::from(bytes);
        self.push(queue::TRANSMIT, SENT, [from.0, bytes << 46 | SEND | bytes])
    }

    /// Gives the device 2048 bytes at `to` to receive into.
    pub fn offer(&self, to: Iova) -> Buffer<'_> {
        Buffer { page: &self.page, at: self.push(queue::RECEIVE, RECEIVED, [to.0, 0]) }
    }

    /// Whether the device has taken all that it was given to send.
    pub fn idle(&self) -> bool {
        let read = |register| self.registers.read32(queue::TRANSMIT + register);
        read(queue::HEAD) == read(queue::TAIL)
    }
}

/// A buffer that the device may receive into.
pub struct Buffer<'a> {
    page: &'a Page,
    at: usize,
}

impl Buffer<'_> {
    /// Waits a moment for a frame; the sender has been told already that it was sent.
    pub fn arrives(&self) -> Result<(), String> {
        // The lower half of the last eight bytes is the status (7.1.5.2).
        within(MOMENT, "a frame to arrive", || self.page.read64(self.at + 8) & DONE != 0)
    }
}
