//! Memory of one device that another one reaches: peer to peer.

use super::{Dma, DmaRef};
use crate::{driver::Hung, space::MapError};
use core::{fmt, marker::PhantomData, mem};
use ioward_types::{Attributes, Direction, Iova, PhysAddr, Platform, Span};

/// A part of a base-address register of a device: registers, or memory on the card. It is no RAM, so no CPU cache and no copy
/// is concerned, and it is mapped as device memory.
///
/// `keep` is whatever keeps it decoding: a handle of the device that owns it, or of the register.
#[derive(Debug)]
pub struct PeerMemory<T> {
    span: Span<PhysAddr>,
    keep: T,
}

impl<T: Send + 'static> PeerMemory<T> {
    /// This part of the register.
    ///
    /// # Safety
    /// While `keep` lives, the span is what a device decodes, and no RAM; it is the caller's to give away, in whole pages of
    /// the address space that it is mapped in; and the fabric carries a request for it from the IOMMU, or, where nothing
    /// translates, from the device, to that device and to nobody else.
    pub unsafe fn new(span: Span<PhysAddr>, keep: T) -> Self {
        Self { span, keep }
    }

    /// Where it is.
    pub fn span(&self) -> Span<PhysAddr> {
        self.span
    }

    /// What kept it decoding.
    pub fn into_inner(self) -> T {
        self.keep
    }
}

impl<P: Platform> Dma<P> {
    /// Maps memory of another device, at an IOVA of the allocator's choice. On error it comes back, unless an IOMMU hung in
    /// the middle: then it is withheld for ever.
    #[allow(clippy::type_complexity)]
    pub fn map_peer<T: Send + 'static, D: DmaRef<P>>(
        dma: D,
        memory: PeerMemory<T>,
        direction: Direction,
    ) -> Result<PeerMapping<P, T, D>, (MapError, Option<PeerMemory<T>>)> {
        let to = memory.span;
        let how = Attributes { coherent: false, mmio: true, ..Attributes::for_direction(direction) };
        let placed = dma.check_whole(to).map_err(|error| dma.fail(error));
        match placed.and_then(|()| dma.place(to.bytes, how, |_| to)) {
            Ok(at) => Ok(PeerMapping { dma, at, memory: Some(memory), _platform: PhantomData }),
            Err(error @ MapError::Hung(_)) => {
                mem::forget(memory);
                Err((error, None))
            }
            Err(error) => Err((error, Some(memory))),
        }
    }
}

/// Memory of another device that a device reaches. It ends as a [`Mapping`](super::Mapping) does.
#[must_use = "the device reaches the memory only while the mapping lives"]
pub struct PeerMapping<P: Platform, T: Send + 'static, D: DmaRef<P>> {
    dma: D,
    at: Span<Iova>,
    memory: Option<PeerMemory<T>>,
    _platform: PhantomData<fn() -> P>,
}

impl<P: Platform, T: Send + 'static, D: DmaRef<P>> PeerMapping<P, T, D> {
    /// All of its IOVAs.
    pub fn span(&self) -> Span<Iova> {
        self.at
    }

    /// Takes it back. After `Ok` the device reaches it no more; on `Err` an IOMMU did not confirm that, its devices were
    /// silenced, and what keeps the memory decoding is withheld for ever.
    pub fn unmap(mut self) -> Result<PeerMemory<T>, Hung> {
        match self.memory.take() {
            Some(memory) => self.dma.take(self.at, memory),
            None => {
                unreachable!("the memory is there until `unmap` or `drop`, each of which ends the mapping")
            }
        }
    }
}

impl<P: Platform, T: Send + 'static, D: DmaRef<P>> Drop for PeerMapping<P, T, D> {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // Hung hardware has been counted and silenced, and the memory withheld.
            let _ = self.dma.give_up(self.at, memory);
        }
    }
}

impl<P: Platform, T: Send + 'static, D: DmaRef<P>> fmt::Debug for PeerMapping<P, T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerMapping({})", self.at)
    }
}
