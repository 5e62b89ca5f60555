//! Where everything goes: sizes add up from the leaves to the root, addresses come down again.
//!
//! There are three kinds of room, each laid out by itself: I/O, memory below 4 GiB, and memory above for 64-bit
//! prefetchable registers whose bridges all have 64-bit prefetchable windows.

use super::{
    bars::{Space, Window, Wish},
    buses::Numbering,
};
use crate::{Bdf, ConfigAccess, regs};
use alloc::{vec, vec::Vec};
use ioward_types::PhysAddr;

const FOUR_GIB: u64 = 1 << 32;
const KINDS: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Io = 0,
    Low = 1,
    High = 2,
}

/// What a bridge window is made of: its size and alignment are multiples of it (7.5.1.3.6, 7.5.1.3.8).
const fn granule(kind: Kind) -> u128 {
    match kind {
        Kind::Io => 0x1000,
        Kind::Low | Kind::High => 0x10_0000,
    }
}

/// Addresses for every wish, and windows for every bridge.
pub(super) struct Plan {
    /// Bus address and CPU address of each wish, in their order.
    pub places: Vec<Option<(u64, PhysAddr)>>,
    /// By bus number: first and last bus address of each kind.
    windows: Vec<[Option<(u64, u64)>; KINDS]>,
}

/// A register or a bridge's window, on some bus.
#[derive(Clone, Copy)]
enum What {
    Wish(usize),
    Bus(usize),
}

#[derive(Clone, Copy)]
struct Item {
    what: What,
    bytes: u128,
    align: u128,
    /// From the start of the bus's window.
    at: u128,
}

/// The layout of one kind on one bus.
#[derive(Default, Clone)]
struct Shelf {
    items: Vec<Item>,
    bytes: u128,
    align: u128,
}

/// A piece of a host window.
struct Room {
    next: u128,
    end: u128,
    cpu_minus_bus: u64,
}

pub(super) fn plan<A: ConfigAccess + ?Sized>(
    access: &A,
    numbering: &Numbering,
    wishes: &[Wish],
    windows: &[Window],
) -> Plan {
    let buses = &numbering.buses;
    let mut index_of = vec![usize::MAX; 256];
    for (index, bus) in buses.iter().enumerate() {
        index_of[usize::from(bus.number)] = index;
    }
    let parents: Vec<Option<usize>> = buses
        .iter()
        .map(|bus| bus.bridge.map(|bridge| index_of[usize::from(bridge.bus)]).filter(|&p| p != usize::MAX))
        .collect();

    // Which kinds can reach each bus at all.
    let any_high = windows.iter().any(|window| pieces(window).iter().flatten().any(|p| p.0 == Kind::High));
    let mut reached = vec![[true, true, any_high]; buses.len()];
    for (index, bus) in buses.iter().enumerate() {
        let Some(bridge) = bus.bridge else { continue };
        let above = parents[index].map_or([false; KINDS], |parent| reached[parent]);
        let own = implemented(access, bridge);
        reached[index] = [above[0] && own[0], above[1] && own[1], above[2] && own[2]];
    }

    let on: Vec<Option<usize>> = wishes
        .iter()
        .map(|wish| Some(index_of[usize::from(wish.function.bus)]).filter(|&i| i != usize::MAX))
        .collect();
    let kinds: Vec<Option<Kind>> = wishes
        .iter()
        .zip(&on)
        .map(|(wish, on)| {
            let reached = reached[(*on)?];
            let kind = match wish.space {
                Space::Io => Kind::Io,
                Space::Memory if wish.wide && wish.prefetchable && reached[2] => Kind::High,
                Space::Memory => Kind::Low,
            };
            reached[kind as usize].then_some(kind)
        })
        .collect();

    let mut rooms: Vec<(Kind, Room)> = Vec::new();
    for (kind, first, last, cpu_minus_bus) in windows.iter().flat_map(|w| pieces(w).into_iter().flatten()) {
        rooms.push((kind, Room { next: first.into(), end: u128::from(last) + 1, cpu_minus_bus }));
    }
    let mut plan = Plan { places: vec![None; wishes.len()], windows: vec![[None; KINDS]; 256] };
    // Low before high: what does not fit above may take what is left below.
    for kind in [Kind::Io, Kind::Low, Kind::High] {
        let mut wanted: Vec<bool> = kinds.iter().map(|&k| k == Some(kind)).collect();
        let (shelves, placed) = fit(kind, wishes, &on, &parents, &mut wanted, &mut rooms);
        hand_down(kind, buses, &shelves, &placed, &mut plan);
    }
    plan
}

/// The parts of a window that can be used, each of one kind: kind, first and last bus address, CPU minus bus address.
fn pieces(window: &Window) -> [Option<(Kind, u64, u64, u64)>; 2] {
    let Some(last) = window.bytes.checked_sub(1).and_then(|more| window.bus.checked_add(more)) else {
        return [None; 2];
    };
    if window.cpu.0.checked_add(window.bytes - 1).is_none() {
        return [None; 2];
    }
    let shift = window.cpu.0.wrapping_sub(window.bus);
    let piece = |kind, first: u64, last: u64| (first <= last).then_some((kind, first, last, shift));
    match window.space {
        // Sixteen bits are what every bridge forwards. Address 0 means unassigned to too many drivers.
        Space::Io => [piece(Kind::Io, window.bus.max(0x1000), last.min(0xffff)), None],
        Space::Memory => [
            piece(Kind::Low, window.bus.max(0x10_0000), last.min(FOUR_GIB - 1)),
            piece(Kind::High, window.bus.max(FOUR_GIB), last),
        ],
    }
}

/// Which windows a bridge has: I/O, memory, 64-bit prefetchable.
fn implemented<A: ConfigAccess + ?Sized>(access: &A, bridge: Bdf) -> [bool; KINDS] {
    if access.read32(bridge, regs::HEADER) >> 16 & 0x7f != 1 {
        return [false; KINDS];
    }
    // The upper half of the first is secondary status, where zeros change nothing. Base above limit: closed.
    access.write32(bridge, regs::IO_WINDOW, 0x00f0);
    access.write32(bridge, regs::MEMORY_WINDOW, 0x0000_fff0);
    access.write32(bridge, regs::PREFETCH_WINDOW, 0x0000_fff0);
    let io = access.read32(bridge, regs::IO_WINDOW) & 0xf0 == 0xf0;
    let prefetch = access.read32(bridge, regs::PREFETCH_WINDOW);
    [io, true, prefetch & 0xfff0 == 0xfff0 && prefetch & 0xf == 1]
}

/// Rounds up to a multiple of a power of two.
const fn up(value: u128, unit: u128) -> u128 {
    (value + unit - 1) & !(unit - 1)
}

/// Adds up from the leaves.
fn shelves(
    kind: Kind,
    wishes: &[Wish],
    on: &[Option<usize>],
    parents: &[Option<usize>],
    wanted: &[bool],
) -> Vec<Shelf> {
    let mut shelves = vec![Shelf::default(); parents.len()];
    for (index, wish) in wishes.iter().enumerate() {
        if let (true, Some(bus)) = (wanted[index], on[index]) {
            let count = u128::from(wish.virtual_functions.max(1));
            let item = Item {
                what: What::Wish(index),
                bytes: u128::from(wish.bytes) * count,
                align: wish.bytes.into(),
                at: 0,
            };
            shelves[bus].items.push(item);
        }
    }
    // Buses come after the ones above them, so the last is a leaf.
    for bus in (0..parents.len()).rev() {
        let shelf = &mut shelves[bus];
        shelf.items.sort_by_key(|item| core::cmp::Reverse(item.align));
        let (mut end, mut align) = (0, granule(kind));
        for item in &mut shelf.items {
            item.at = up(end, item.align);
            end = item.at + item.bytes;
            align = align.max(item.align);
        }
        (shelf.bytes, shelf.align) = (up(end, granule(kind)), align);
        let item = Item { what: What::Bus(bus), bytes: shelf.bytes, align, at: 0 };
        if let Some(parent) = parents[bus].filter(|_| end != 0) {
            shelves[parent].items.push(item);
        }
    }
    shelves
}

/// Places what is on the root bus into the rooms. Where something below a bridge is too large, gives up the largest of
/// it, virtual functions' registers before all others, and tries again.
fn fit(
    kind: Kind,
    wishes: &[Wish],
    on: &[Option<usize>],
    parents: &[Option<usize>],
    wanted: &mut [bool],
    rooms: &mut [(Kind, Room)],
) -> (Vec<Shelf>, Vec<(Item, u128, u64)>) {
    // Each round halves the largest of what does not fit. The one after the last gives all of it up: what failed took no
    // room, so that the rest is placed as before and nothing fails in the round that follows.
    const ROUNDS: usize = 16;
    for round in 0..=ROUNDS + 1 {
        let shelves = shelves(kind, wishes, on, parents, wanted);
        let mut cursors: Vec<u128> = rooms.iter().map(|(_, room)| room.next).collect();
        let (mut placed, mut failed) = (Vec::new(), Vec::new());
        for item in shelves.first().map_or(&[][..], |root| &root.items) {
            // Rooms of this kind first; 64-bit registers may also be below 4 GiB.
            let fallback = if kind == Kind::High { Kind::Low } else { kind };
            let spot = [kind, fallback].into_iter().find_map(|kind| {
                rooms.iter().enumerate().find_map(|(index, (has, room))| {
                    let at = up(cursors[index], item.align);
                    (*has == kind && at + item.bytes <= room.end).then_some((index, at))
                })
            });
            match spot {
                Some((index, at)) => {
                    cursors[index] = at + item.bytes;
                    placed.push((*item, at, rooms[index].1.cpu_minus_bus));
                }
                None => failed.push(item.what),
            }
        }
        let gave_up = give_up(wishes, on, parents, wanted, &failed, round >= ROUNDS);
        if !gave_up {
            for ((_, room), cursor) in rooms.iter_mut().zip(cursors) {
                room.next = cursor;
            }
            return (shelves, placed);
        }
    }
    (Vec::new(), Vec::new())
}

/// Takes wishes back that are under what failed; whether it took any.
fn give_up(
    wishes: &[Wish],
    on: &[Option<usize>],
    parents: &[Option<usize>],
    wanted: &mut [bool],
    failed: &[What],
    all: bool,
) -> bool {
    let mut gave_up = false;
    let mut under = vec![usize::MAX; parents.len()];
    for (slot, what) in failed.iter().enumerate() {
        match *what {
            What::Wish(index) => (wanted[index], gave_up) = (false, true),
            What::Bus(bus) => under[bus] = slot,
        }
    }
    for bus in 0..parents.len() {
        if let Some(parent) =
            parents[bus].filter(|&parent| under[bus] == usize::MAX && under[parent] != usize::MAX)
        {
            under[bus] = under[parent];
        }
    }
    // For each failed bridge: whether virtual functions are below it, and the largest register to give up.
    let mut largest = vec![(false, 0); failed.len()];
    let slot_of = |index: usize| on[index].map(|bus| under[bus]).filter(|&slot| slot != usize::MAX);
    for (index, wish) in wishes.iter().enumerate() {
        if let (true, Some(slot)) = (wanted[index], slot_of(index)) {
            largest[slot] = largest[slot].max((wish.virtual_functions != 0, wish.bytes));
        }
    }
    for (index, wish) in wishes.iter().enumerate() {
        if let (true, Some(slot)) = (wanted[index], slot_of(index))
            && (all || (wish.virtual_functions != 0, wish.bytes) == largest[slot])
        {
            (wanted[index], gave_up) = (false, true);
        }
    }
    gave_up
}

/// Turns offsets into addresses.
fn hand_down(
    kind: Kind,
    buses: &[super::Bus],
    shelves: &[Shelf],
    placed: &[(Item, u128, u64)],
    plan: &mut Plan,
) {
    let mut open: Vec<(What, u128, u128, u64)> =
        placed.iter().map(|(item, at, shift)| (item.what, *at, item.bytes, *shift)).collect();
    while let Some((what, at, bytes, shift)) = open.pop() {
        // Everything lies inside a 64-bit room.
        let first = at as u64;
        match what {
            What::Wish(index) => {
                plan.places[index] = Some((first, PhysAddr(first.wrapping_add(shift))));
            }
            What::Bus(bus) => {
                plan.windows[usize::from(buses[bus].number)][kind as usize] =
                    Some((first, first + (bytes - 1) as u64));
                open.extend(
                    shelves[bus].items.iter().map(|item| (item.what, at + item.at, item.bytes, shift)),
                );
            }
        }
    }
}

impl Plan {
    /// Writes a bridge's windows, closed where nothing is behind them.
    pub(super) fn open<A: ConfigAccess + ?Sized>(&self, access: &A, bus: u8, bridge: Bdf) {
        if access.read32(bridge, regs::HEADER) >> 16 & 0x7f != 1 {
            return;
        }
        let [io, low, high] = self.windows[usize::from(bus)];
        let halves = |range: Option<(u64, u64)>, shift: u32| {
            // Closed: base above limit.
            let (base, limit) = range.unwrap_or((0xfff0 << shift, 0));
            ((base >> shift & 0xfff0) as u32, (limit >> shift & 0xfff0) as u32)
        };
        let (base, limit) = io.map_or((0xf0, 0), |(first, last)| (first >> 8 & 0xf0, last >> 8 & 0xf0));
        access.write32(bridge, regs::IO_WINDOW, (limit << 8 | base) as u32);
        access.write32(bridge, regs::IO_UPPER, 0);
        let (base, limit) = halves(low, 16);
        access.write32(bridge, regs::MEMORY_WINDOW, limit << 16 | base);
        let (base, limit) = halves(high, 16);
        access.write32(bridge, regs::PREFETCH_WINDOW, limit << 16 | base);
        let (upper_base, upper_limit) =
            high.map_or((u32::MAX, 0), |(f, l)| ((f >> 32) as u32, (l >> 32) as u32));
        access.write32(bridge, regs::PREFETCH_BASE_UPPER, upper_base);
        access.write32(bridge, regs::PREFETCH_LIMIT_UPPER, upper_limit);
    }
}
