//! What every model of an IOMMU offers, whatever its registers.

use ioward_types::{Iova, Mmio, Pasid, PhysAddr, SourceId, Span};
use std::sync::Arc;

/// What a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To fetch instructions.
    Execute,
}

/// A request as it reaches an IOMMU. It lies within one page of 4 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Who asks.
    pub source: SourceId,
    /// With which PASID.
    pub pasid: Option<Pasid>,
    /// For which address.
    pub at: Iova,
    /// To do what.
    pub access: Access,
    /// Whether the request is marked privileged.
    pub privileged: bool,
}

/// What an IOMMU does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It goes on to this address. Translated or not, the device cannot tell.
    To {
        /// The first byte.
        at: PhysAddr,
        /// The translation holds for so many bytes around it: an aligned power of two, what a device may cache.
        page: u64,
        /// A write would be allowed too.
        writable: bool,
    },
    /// It is an interrupt.
    Interrupt,
    /// It ends here, and the device is told so (UR, CA) or sees reads of all ones.
    Aborted,
}

/// What an IOMMU does with an interrupt message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageOutcome {
    /// It goes on as it came.
    Unremapped,
    /// A table says where it goes.
    Delivered {
        /// The vector.
        vector: u8,
        /// The APIC ID or logical destination.
        destination: u32,
        /// The destination is logical.
        logical: bool,
        /// The delivery mode, as processors encode it: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT.
        delivery: u8,
        /// Level triggered.
        level: bool,
    },
    /// It ends here.
    Aborted,
}

/// What of a device's translation cache is to be forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AtcSpan {
    /// Of this PASID, or of requests without one.
    pub pasid: Option<Pasid>,
    /// Of every PASID and of requests without one too.
    pub global: bool,
    /// These addresses; `None` means all.
    pub span: Option<Span<Iova>>,
}

/// A device that caches translations.
pub trait AtcSink: Send + Sync {
    /// Forgets. False: the device does not answer, and the invalidation times out.
    fn invalidate(&self, what: AtcSpan) -> bool;
}

/// A model of an IOMMU: registers on one side, requests on the other.
pub trait IommuModel: Mmio {
    /// What becomes of a request. A model records the fault itself.
    fn request(&self, request: &Request) -> Outcome;
    /// A device asks for a translation in advance (ATS), to cache it. `Aborted` where ATS is not allowed to it.
    fn translate_ahead(&self, request: &Request) -> Outcome;
    /// A request that says it carries a translated address. `Aborted` where the source may not send such.
    fn translated(&self, request: &Request) -> Outcome;
    /// What becomes of an interrupt message: a write of `data` to `at` by `source`, where `at` is in the range that the
    /// IOMMU takes for interrupts. A model records the fault itself.
    fn message(&self, source: SourceId, at: Iova, data: u32) -> MessageOutcome {
        let _ = (source, at, data);
        MessageOutcome::Unremapped
    }
    /// A device with a translation cache is behind it.
    fn connect(&self, source: SourceId, atc: Arc<dyn AtcSink>);
}
