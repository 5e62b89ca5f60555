//! A virtio network card on QEMU's user network: the gateway is found and pinged, and frames come for buffers that have been
//! taken back.

use super::{Bench, Nic, packets, transport};
use crate::{checks::Checks, script::Why};
use alloc::{
    format,
    string::{String, ToString as _},
    vec,
    vec::Vec,
};
use ioward_virtio_drivers::{HalOf, PlatformAccess, VirtioDevice as _};
use virtio_drivers::{device::net::VirtIONetRaw, transport::pci::PciTransport};

/// Entries of each queue.
const DEPTH: usize = 16;
/// Buffers for frames that come, side by side: they share pages with each other.
const BUFFERS: usize = 8;
const BUFFER: usize = 1700;
/// Pings, each longer than the one before.
const PINGS: usize = 32;

type Driver = VirtIONetRaw<HalOf<Nic>, PlatformAccess<PciTransport>, DEPTH>;

/// The driver with its buffers.
struct Card<'a> {
    bench: &'a Bench<'a>,
    // Dropped before the memory that the device has: the device is reset then.
    driver: Driver,
    memory: Vec<u8>,
    /// Which buffer is with the device by which token.
    posted: Vec<(u16, usize)>,
}

pub fn run(bench: &Bench<'_>, checks: &mut Checks) -> Result<(), String> {
    let name = |what: &str| format!("{what}@net/{}", bench.function);
    let _ = bench.faults();
    let mut card = Card::open(bench)?;
    let gateway = card.find_gateway();
    checks.check(name("gateway-answers"), gateway.as_ref().map(drop));
    if let Ok(gateway) = gateway {
        checks.check(name("pings"), (0..PINGS).try_for_each(|number| card.ping(gateway, number)));
    }
    let faults = bench.faults();
    checks.check(name("no-fault"), if faults.is_empty() { Ok(()) } else { Err(Why::Reported(faults)) });
    card.close()?;
    let left = bench.bound.dma().stats().iova_in_use;
    checks.check(
        name("all-given-back"),
        if left == 0 { Ok(()) } else { Err(format!("{left:#x} bytes of IOVA")) },
    );

    revoked(bench, checks)?;
    let mut card = Card::open(bench)?;
    checks.check(name("works-again"), card.find_gateway().map(drop));
    card.close()
}

/// The driver's buffers are unmapped while the device has them: what comes must not reach them, and must be reported.
fn revoked(bench: &Bench<'_>, checks: &mut Checks) -> Result<(), String> {
    let mut card = Card::open(bench)?;
    // The card has delivered before: whatever caches translations has those of its buffers.
    card.find_gateway()?;
    let places = Nic::shelf().revoke_buffers();
    let _ = bench.faults();
    let sent = card.send(&packets::arp_request(card.driver.mac_address()));
    let mut faults = Vec::new();
    let answered = bench.wait(|| {
        faults.extend(bench.faults());
        (!faults.is_empty() || card.driver.poll_receive().is_some()).then_some(())
    });
    crate::say!("net: {}", if answered.is_some() { "a frame or a fault" } else { "neither frame nor fault" });
    // The device is reset, and uses nothing any more.
    drop(card);
    // The buffers themselves are out of its reach at any time: it has copies. That it tried is what a report shows.
    checks.check(format!("send-though-unmapped@net/{}", bench.function), sent.map_err(Why::Mapping));
    if bench.reports.tables {
        let reported = Bench::reported(faults, &places);
        checks.check(format!("rogue-unmapped-reported@net/{}", bench.function), reported);
    }
    Nic::shelf().revoke_buffers();
    Nic::shelf().empty().map(drop).map_err(|why| why.to_string())
}

impl<'a> Card<'a> {
    fn open(bench: &'a Bench<'a>) -> Result<Self, String> {
        Nic::shelf().fill(bench.bound.dma().clone()).map_err(|why| why.to_string())?;
        let transport = transport::<HalOf<Nic>>(bench.stage.pci, bench.function)?;
        let driver = Driver::new(transport).map_err(|why| why.to_string())?;
        let mut card = Self { bench, driver, memory: vec![0; BUFFERS * BUFFER], posted: Vec::new() };
        (0..BUFFERS).try_for_each(|buffer| card.post(buffer))?;
        Ok(card)
    }

    /// Resets the device and gives everything back.
    fn close(self) -> Result<(), String> {
        let Self { driver, memory, .. } = self;
        drop(driver);
        // Those that the device still had.
        Nic::shelf().revoke_buffers();
        drop(memory);
        Nic::shelf().empty().map(drop).map_err(|why| why.to_string())
    }

    fn post(&mut self, buffer: usize) -> Result<(), String> {
        let bytes = &mut self.memory[buffer * BUFFER..][..BUFFER];
        // SAFETY: the bytes are left alone until they are taken back, or the device has been reset.
        let token = unsafe { self.driver.receive_begin(bytes) }.map_err(|why| why.to_string())?;
        self.posted.push((token, buffer));
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), String> {
        let mut bytes = vec![0; 64];
        let head = self.driver.fill_buffer_header(&mut bytes).map_err(|why| why.to_string())?;
        bytes.truncate(head);
        bytes.extend(frame);
        // SAFETY: the bytes are left alone until they are taken back.
        let token = unsafe { self.driver.transmit_begin(&bytes) }.map_err(|why| why.to_string())?;
        if self.bench.wait(|| self.driver.poll_transmit()).is_none() {
            // The device has them still, for good.
            core::mem::forget(bytes);
            return Err("a frame was not sent".into());
        }
        // SAFETY: the bytes that were given to the device.
        unsafe { self.driver.transmit_complete(token, &bytes) }.map(drop).map_err(|why| why.to_string())
    }

    /// The next frame that comes.
    fn receive(&mut self) -> Result<Vec<u8>, String> {
        let token = self.bench.wait(|| self.driver.poll_receive()).ok_or("no frame came")?;
        let place = self.posted.iter().position(|(of, _)| *of == token);
        let (_, buffer) = self.posted.swap_remove(place.ok_or("a frame for no buffer")?);
        let bytes = &mut self.memory[buffer * BUFFER..][..BUFFER];
        // SAFETY: the bytes that were given to the device.
        let lengths = unsafe { self.driver.receive_complete(token, bytes) };
        let (head, length) = lengths.map_err(|why| why.to_string())?;
        let frame = bytes.get(head..head + length).ok_or("a frame is longer than its buffer")?.to_vec();
        self.post(buffer)?;
        Ok(frame)
    }

    /// Takes frames until one is what is waited for: the network has others too.
    fn until<T>(&mut self, wanted: impl Fn(&[u8]) -> Option<T>) -> Result<T, String> {
        for _ in 0..16 {
            if let Some(found) = wanted(&self.receive()?) {
                return Ok(found);
            }
        }
        Err("sixteen frames came, and no answer".into())
    }

    fn find_gateway(&mut self) -> Result<[u8; 6], String> {
        let us = self.driver.mac_address();
        self.send(&packets::arp_request(us))?;
        self.until(|frame| packets::arp_reply(frame, us))
    }

    fn ping(&mut self, gateway: [u8; 6], number: usize) -> Result<(), String> {
        let us = self.driver.mac_address();
        let payload: Vec<u8> = (0..number * 45 + 1).map(|n| (n * 7 + number) as u8).collect();
        self.send(&packets::ping(gateway, us, number as u16, &payload))?;
        let answered = |frame: &[u8]| packets::is_pong(frame, us, number as u16, &payload).then_some(());
        self.until(answered).map_err(|why| format!("ping {number}: {why}"))
    }
}
