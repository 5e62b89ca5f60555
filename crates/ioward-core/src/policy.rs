//! Which default domain a group gets. Chosen in one place (rule 5).

use crate::device::Source;
use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;

/// The kind of a group's default domain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DefaultKind {
    /// Translated: a device reaches what is mapped for it, and nothing else.
    Paging,
    /// IOVAs are physical addresses: every device of the group reaches all memory. Asked for, never fallen back to.
    Identity,
    /// Nothing is reachable; drivers cannot bind.
    Blocked,
}

/// When what a driver has released is confirmed to be out of its device's reach.
///
/// In both modes nothing is used again before that: not the memory, not the tables, not the IOVAs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FlushMode {
    /// Before the release returns: each waits for its flush.
    Strict,
    /// Within a bounded number of releases and a bounded time ([`QUEUED`](crate::space::QUEUED),
    /// [`AFTER`](crate::space::AFTER)), for all of them together. Until then the device still reaches the memory. Whoever
    /// wants a buffer back (`unmap`) waits as in strict.
    Lazy,
}

/// What is done with a device that no IOMMU serves (rule 14).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnservedKind {
    /// No driver can bind to it.
    Refuse,
    /// Drivers may use it although it reaches all memory.
    Trust,
}

/// A group as a policy sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupView {
    /// The names of its devices.
    pub names: Vec<String>,
    /// Their sources.
    pub sources: Vec<Source>,
    /// All of them are trusted.
    pub trusted: bool,
    /// PASIDs can be granted to one of them.
    pub pasids: bool,
}

/// What a group gets; none leaves it to what holds for all.
pub type ByGroup<T> = Box<dyn Fn(&GroupView) -> Option<T> + Send + Sync>;

/// The default-domain policy: global, by trust, by group. The default translates everybody and refuses unserved devices.
pub struct Policy {
    /// For groups of trusted devices.
    pub trusted: DefaultKind,
    /// For groups with a device that is not trusted. [`DefaultKind::Identity`] is taken for paging here: nobody meant that.
    pub untrusted: DefaultKind,
    /// For devices that no IOMMU serves.
    pub unserved: UnservedKind,
    /// Asked first; `None` leaves it to the others. It is called with the registry's turn held: it must not call the
    /// subsystem.
    pub by_group: Option<ByGroup<DefaultKind>>,
    /// How the default domains of groups of trusted devices flush. A group with a device that is not trusted is strict,
    /// whatever is asked for.
    pub flush: FlushMode,
    /// Asked first, on the terms of `by_group`.
    pub flush_by_group: Option<ByGroup<FlushMode>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            trusted: DefaultKind::Paging,
            untrusted: DefaultKind::Paging,
            unserved: UnservedKind::Refuse,
            by_group: None,
            flush: FlushMode::Strict,
            flush_by_group: None,
        }
    }
}

impl Policy {
    /// The one place where the kind of a default domain is chosen.
    pub(crate) fn choose(&self, group: &GroupView) -> DefaultKind {
        let asked = self.by_group.as_ref().and_then(|by_group| by_group(group));
        match (asked, group.trusted) {
            (Some(kind), _) => kind,
            (None, true) => self.trusted,
            (None, false) if self.untrusted == DefaultKind::Identity => DefaultKind::Paging,
            (None, false) => self.untrusted,
        }
    }

    /// The one place where it is chosen how a default domain flushes.
    pub(crate) fn choose_flush(&self, group: &GroupView) -> FlushMode {
        if !group.trusted {
            return FlushMode::Strict;
        }
        let asked = self.flush_by_group.as_ref().and_then(|by_group| by_group(group));
        asked.unwrap_or(self.flush)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("trusted", &self.trusted)
            .field("untrusted", &self.untrusted)
            .field("unserved", &self.unserved)
            .field("by_group", &self.by_group.is_some())
            .field("flush", &self.flush)
            .field("flush_by_group", &self.flush_by_group.is_some())
            .finish()
    }
}
