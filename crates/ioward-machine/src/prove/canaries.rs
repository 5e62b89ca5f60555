//! Buffers whose every byte is known.

use crate::{checks::Checks, running::Running};
use ioward::{
    core::{Bound, Dma, DmaBuffer, FrameBuffer, GroupId, Mapping, Status},
    types::{Direction, Iova, PhysAddr, Span},
};
use ioward_models::{Memory, SimPlatform};
use std::sync::Arc;

/// The smallest page that everything here has.
pub const PAGE: u64 = 4096;

type Mapped = Mapping<SimPlatform, FrameBuffer<SimPlatform>, Arc<Dma<SimPlatform>>>;

/// A mapped buffer.
pub struct Held {
    /// Whose: a place in [`Running::members`].
    pub member: usize,
    /// Of which group.
    pub group: GroupId,
    pub mapping: Mapped,
    /// Where it is.
    pub at: Span<PhysAddr>,
    pub writable: bool,
    /// What it must hold.
    pub expected: Vec<u8>,
}

impl Held {
    pub fn iova(&self) -> Span<Iova> {
        self.mapping.span()
    }

    /// Whether memory holds `expected` in `bytes` bytes from `offset` on, as seen past every IOMMU.
    pub fn is_intact(&self, memory: &Memory, offset: usize, bytes: usize) -> bool {
        let mut seen = vec![0; bytes];
        let read = memory.dma_read("the proof", PhysAddr(self.at.start.0 + offset as u64), &mut seen);
        read.is_ok() && self.expected.get(offset..offset + bytes) == Some(&seen[..])
    }
}

/// Every buffer of a machine.
pub struct Canaries {
    /// Those that are bound, by place in [`Running::members`].
    pub bound: Vec<(usize, GroupId, Bound<SimPlatform>)>,
    pub held: Vec<Held>,
}

impl Canaries {
    /// Binds a driver to every device that lets one, and gives it buffers.
    pub fn plant(running: &mut Running) -> Self {
        let mut all = Self { bound: Vec::new(), held: Vec::new() };
        for (index, member) in running.members.iter().enumerate() {
            let Some(device) = &member.device else { continue };
            if device.status() != Status::Served {
                continue;
            }
            let (Ok(bound), Some(group)) = (device.bind(), member.group()) else { continue };
            // The first is alike and the others are not, so that IOVAs of groups are equal in part and differ in part.
            let pages = |n| if n == 0 { 1 } else { 1 + (index + n) % 3 };
            let buffers = (0..2 + index % 3).map(|n| (pages(n), n != 1));
            for (n, (pages, writable)) in buffers.enumerate() {
                let seed = (index * 8 + n) as u64;
                match hold(&running.rig.platform, &bound, index, group, pages, writable, seed) {
                    Ok(held) => all.held.push(held),
                    Err(why) => {
                        running.checks.expect("own", false, || {
                            format!("{}: {pages} pages cannot be mapped: {why}", member.name)
                        });
                    }
                }
            }
            all.bound.push((index, group, bound));
        }
        all
    }

    /// The buffer of a group that is mapped at `at`.
    pub fn own(&self, group: GroupId, at: Iova) -> Option<usize> {
        self.held.iter().position(|held| held.group == group && held.iova().contains(at))
    }

    /// Whether a device of `group` may reach `at`: through a mapping, or because firmware requires it for one of them.
    pub fn may_reach(&self, running: &Running, group: GroupId, at: Iova) -> bool {
        self.own(group, at).is_some()
            || running.members.iter().any(|member| member.requires(at) && member.group() == Some(group))
    }

    /// Compares every byte.
    pub fn check_all(&self, running: &mut Running) {
        for held in &self.held {
            let intact = held.is_intact(&running.rig.memory, 0, held.expected.len());
            running.checks.expect("bytes", intact, || {
                format!("the buffer of {} at {} has changed", running.members[held.member].name, held.at)
            });
        }
    }
}

fn hold(
    platform: &SimPlatform,
    bound: &Bound<SimPlatform>,
    member: usize,
    group: GroupId,
    pages: usize,
    writable: bool,
    seed: u64,
) -> Result<Held, String> {
    let bytes = pages * PAGE as usize;
    let mut buffer = FrameBuffer::new(platform, bytes, PAGE as usize).map_err(|error| error.to_string())?;
    let expected = pattern(seed, bytes);
    if !buffer.write(0, &expected) {
        return Err("the buffer is too small".into());
    }
    let at = buffer.span();
    let direction = if writable { Direction::Both } else { Direction::ToDevice };
    let mapping = Dma::map(bound.dma().clone(), buffer, direction).map_err(|(error, _)| error.to_string())?;
    Ok(Held { member, group, mapping, at, writable, expected })
}

/// Bytes that no other buffer has in any place.
fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8)
        .flat_map(|n| (seed << 32 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17).to_le_bytes())
        .collect()
}

/// Whether `reports` of `running` name `member`, for faults at `page` if one is given. Every fault that names somebody
/// else fails the check.
pub fn check_reports(running: &Running, checks: &mut Checks, member: usize, page: Option<Iova>) -> bool {
    let name = &running.members[member].name;
    let mut found = false;
    for report in running.rig.reports() {
        let ioward::core::Report::Fault { devices, fault, .. } = &report else { continue };
        let named = devices.iter().any(|(_, device)| **device == **name);
        checks.expect("faults", named, || format!("{name} made a request, and this was reported: {report}"));
        found |= named && page.is_some_and(|page| fault.at.is_some_and(|at| at.0 & !(PAGE - 1) == page.0));
    }
    found
}
