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

type ByGroup = Box<dyn Fn(&GroupView) -> Option<DefaultKind> + Send + Sync>;

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
    pub by_group: Option<ByGroup>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            trusted: DefaultKind::Paging,
            untrusted: DefaultKind::Paging,
            unserved: UnservedKind::Refuse,
            by_group: None,
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
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("trusted", &self.trusted)
            .field("untrusted", &self.untrusted)
            .field("unserved", &self.unserved)
            .field("by_group", &self.by_group.is_some())
            .finish()
    }
}
