//! What makes the unit forget (6.5), and what it may forget only for a moment.

use super::{
    cache::{Caches, Context, Leaf, Link, PasidEntry, Range, Space, coverage},
    unit::Unit,
};
use crate::AtcSpan;
use ioward_types::{Iova, Pasid, SourceId, Span};

/// An invalidation as issued, whether by descriptor or by register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Invalidation {
    Contexts,
    ContextsOf(u16),
    /// Of a domain and a source, low function bits ignored.
    ContextOf {
        domain: u16,
        source: u16,
        ignore: u16,
    },
    Pasids,
    PasidsOf(u16),
    PasidOf {
        domain: u16,
        pasid: u32,
    },
    Translations,
    TranslationsOf(u16),
    PagesOf {
        domain: u16,
        range: Range,
        leaves_only: bool,
    },
    /// First stage, nested and pass-through of a PASID of a domain.
    PasidPagesOf {
        domain: u16,
        pasid: u32,
        range: Range,
        leaves_only: bool,
    },
    DeviceTlb(DeviceTlb),
    Interrupts,
    /// Indices, both included.
    InterruptsOf(u32, u32),
}

/// A device-TLB invalidation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeviceTlb {
    pub source: SourceId,
    pub pasid: Option<u32>,
    pub global: bool,
    pub range: Range,
}

impl Unit {
    /// Something to be carried out by the next wait.
    pub fn issue(&mut self, what: Invalidation) {
        if !matches!(
            what,
            Invalidation::DeviceTlb(_) | Invalidation::Interrupts | Invalidation::InterruptsOf(..)
        ) {
            self.flush_write_buffer();
        }
        self.pending.push(what);
        if !self.config.lazy {
            // A device that does not answer is noticed by the wait.
            if let Err(silent) = self.settle() {
                self.pending.push(Invalidation::DeviceTlb(silent));
            }
        }
    }

    /// Carries out what was issued, in order. `Err`: a device did not answer.
    pub fn settle(&mut self) -> Result<(), DeviceTlb> {
        let pending = core::mem::take(&mut self.pending);
        self.check_device_order(&pending);
        let mut silent = None;
        for what in pending {
            if let Invalidation::DeviceTlb(what) = what {
                if !self.tell_device(&what) {
                    silent = silent.or(Some(what));
                }
            } else {
                self.carry_out(&what);
            }
        }
        silent.map_or(Ok(()), Err)
    }

    fn tell_device(&self, what: &DeviceTlb) -> bool {
        let span = Span::inclusive(Iova(what.range.first), Iova(what.range.last));
        let told = AtcSpan { pasid: what.pasid.map(Pasid), global: what.global, span };
        self.atcs.get(&what.source).is_some_and(|atc| atc.invalidate(told))
    }

    /// A device may fetch again what its own cache was told to forget before the IOTLB was.
    fn check_device_order(&self, pending: &[Invalidation]) {
        for (n, early) in pending.iter().enumerate() {
            let Invalidation::DeviceTlb(early) = early else { continue };
            let again = |later: &Invalidation| match later {
                Invalidation::DeviceTlb(later) => {
                    later.source == early.source
                        && (later.global || later.pasid == early.pasid)
                        && later.range.first <= early.range.first
                        && early.range.last <= later.range.last
                }
                _ => false,
            };
            let rest = &pending[n + 1..];
            for (m, later) in rest.iter().enumerate() {
                if rest[m + 1..].iter().any(again) {
                    continue;
                }
                let refilled = self.caches.leaves.iter().find(|((space, _, _), leaf)| {
                    covers_leaf(later, *space, leaf)
                        && (early.global
                            || early.pasid == space.pasid
                            || leaf.nested.is_none() && space.pasid.is_none())
                        && Range::page(leaf.base, leaf.page).overlaps(early.range)
                        && self.uses_domain(early.source, space.domain)
                        && self.is_stale_leaf(leaf)
                });
                if let Some((_, leaf)) = refilled {
                    self.violation(
                        "VT-d 6.5.2.11",
                        format!(
                            "device-TLB invalidation to {:#x} before the IOTLB invalidation of {:#x}: the device may \
                             have fetched the old translation again",
                            early.source.0, leaf.base
                        ),
                    );
                }
            }
        }
    }

    /// Whether a cached context or PASID entry of a source names a domain.
    fn uses_domain(&self, source: SourceId, domain: u16) -> bool {
        let Ok(source) = u16::try_from(source.0) else { return false };
        self.caches
            .contexts
            .get(&source)
            .is_some_and(|context| context.words.is_ok() && context.domain == domain)
            || self
                .caches
                .pasids
                .range((source, 0)..=(source, u32::MAX))
                .any(|(_, entry)| entry.words.is_ok() && entry.domain == domain)
    }

    fn carry_out(&mut self, what: &Invalidation) {
        match *what {
            Invalidation::Contexts => {
                self.caches.contexts.clear();
                self.clean(|poison| poison.contexts = true);
            }
            Invalidation::ContextsOf(domain) => {
                // Scalable context entries hold no domain ID, so no domain reaches them.
                self.caches.contexts.retain(|_, context| !(context.domain == domain && context.has_domain()));
            }
            Invalidation::ContextOf { domain, source, ignore } => {
                self.caches.contexts.retain(|cached, context| {
                    let named = cached & !ignore == source & !ignore;
                    !(named && (context.domain == domain || !context.has_domain()))
                });
            }
            Invalidation::Pasids => {
                self.caches.pasids.clear();
                self.clean(|poison| poison.pasids = true);
            }
            Invalidation::PasidsOf(domain) => self.caches.pasids.retain(|_, entry| entry.domain != domain),
            Invalidation::PasidOf { domain, pasid } => {
                self.caches.pasids.retain(|key, entry| !(key.1 == pasid && entry.domain == domain));
            }
            Invalidation::Interrupts => {
                self.caches.interrupts.clear();
                self.clean(|poison| poison.interrupts = true);
            }
            Invalidation::InterruptsOf(first, last) => {
                self.caches.interrupts.retain(|index, _| !(first..=last).contains(&u32::from(*index)));
                self.clean(|poison| poison.indices.push((first, last)));
            }
            Invalidation::DeviceTlb(_) => {}
            Invalidation::Translations
            | Invalidation::TranslationsOf(_)
            | Invalidation::PagesOf { .. }
            | Invalidation::PasidPagesOf { .. } => self.forget_translations(what),
        }
    }

    /// Notes what is no garbage any more.
    fn clean(&mut self, note: impl FnOnce(&mut super::cache::Poison)) {
        if let Some(poison) = &mut self.caches.poison {
            note(poison);
        }
    }

    fn forget_translations(&mut self, what: &Invalidation) {
        self.clean(|poison| match *what {
            Invalidation::TranslationsOf(domain) => {
                poison.spaces.insert(Space { domain, pasid: None });
            }
            Invalidation::PagesOf { domain, range, leaves_only } => {
                poison.parts.push((Space { domain, pasid: None }, range, !leaves_only));
            }
            Invalidation::PasidPagesOf { domain, pasid, range, leaves_only } => {
                let space = Space { domain, pasid: Some(pasid) };
                if range == Range::ALL && !leaves_only {
                    poison.spaces.insert(space);
                } else {
                    poison.parts.push((space, range, !leaves_only));
                }
            }
            _ => poison.translations = true,
        });
        // Through a stale context or PASID entry everything that still stands in memory comes back at once.
        let refills = |space: Space| self.has_stale_way(space.domain);
        let leaves: Vec<_> = self
            .caches
            .leaves
            .iter()
            .filter(|((space, _, _), leaf)| {
                covers_leaf(what, *space, leaf) && (self.is_stale_leaf(leaf) || !refills(*space))
            })
            .map(|(key, _)| *key)
            .collect();
        let links: Vec<_> = self
            .caches
            .links
            .iter()
            .filter(|((space, level, prefix), link)| {
                covers_link(what, *space, coverage(*level, *prefix), link)
                    && (self.is_stale_link(link) || !refills(*space))
            })
            .map(|(key, _)| *key)
            .collect();
        let Caches { leaves: cached_leaves, links: cached_links, absent, .. } = &mut self.caches;
        for key in &leaves {
            cached_leaves.remove(key);
        }
        for key in &links {
            cached_links.remove(key);
        }
        absent.retain(|(space, page), entry| {
            // Where a nested translation failed, no intermediate address says.
            let whole = matches!(what, Invalidation::PagesOf { domain, .. } if entry.nested && space.domain == *domain);
            !(whole || covers(what, *space, entry.nested, Range::page(*page, 0x1000)))
        });
    }

    /// Whether a cached context or PASID entry with this domain says something else in memory by now.
    fn has_stale_way(&self, domain: u16) -> bool {
        self.caches
            .contexts
            .values()
            .any(|c| c.words.is_ok() && c.has_domain() && c.domain == domain && self.is_stale_context(c))
            || self
                .caches
                .pasids
                .values()
                .any(|p| p.words.is_ok() && p.domain == domain && self.is_stale_pasid(p))
    }

    pub fn is_stale_context(&self, context: &Context) -> bool {
        context.from.iter().any(|o| self.changed(o.at, o.value, o.mask, o.coherent))
    }

    pub fn is_stale_pasid(&self, entry: &PasidEntry) -> bool {
        entry.from.iter().any(|o| self.changed(o.at, o.value, o.mask, o.coherent))
    }

    /// Whether the entries behind a cached translation say something else by now.
    pub fn is_stale_leaf(&self, leaf: &Leaf) -> bool {
        [leaf.from, leaf.second].iter().flatten().any(|o| self.changed(o.at, o.value, o.mask, o.coherent))
    }

    pub fn is_stale_link(&self, link: &Link) -> bool {
        self.changed(link.from.at, link.from.value, link.from.mask, link.from.coherent)
    }
}

impl Context {
    /// Whether domain IDs tag it (6.2.2).
    fn has_domain(&self) -> bool {
        !self.scalable
    }
}

/// Whether an invalidation reaches what a space holds for a range; `nested`: of a nested translation.
fn covers(what: &Invalidation, space: Space, nested: bool, range: Range) -> bool {
    match *what {
        Invalidation::Translations => true,
        Invalidation::TranslationsOf(domain) => space.domain == domain && (space.pasid.is_none() || nested),
        Invalidation::PagesOf { domain, range: what, .. } => {
            space.domain == domain && space.pasid.is_none() && range.overlaps(what)
        }
        Invalidation::PasidPagesOf { domain, pasid, range: what, .. } => {
            space == Space { domain, pasid: Some(pasid) } && range.overlaps(what)
        }
        _ => false,
    }
}

fn covers_leaf(what: &Invalidation, space: Space, leaf: &Leaf) -> bool {
    // Pages of a domain are intermediate addresses to its nested translations.
    if let (Invalidation::PagesOf { domain, range, .. }, Some(gpa)) = (what, leaf.nested) {
        return space.domain == *domain && Range::page(gpa, leaf.page).overlaps(*range);
    }
    covers(what, space, leaf.nested.is_some(), Range::page(leaf.base, leaf.page))
}

fn covers_link(what: &Invalidation, space: Space, range: Range, link: &Link) -> bool {
    match what {
        Invalidation::PagesOf { leaves_only: true, .. }
        | Invalidation::PasidPagesOf { leaves_only: true, .. } => false,
        // A nested table lies at an intermediate address.
        Invalidation::PagesOf { domain, range, .. } if link.nested => {
            space.domain == *domain && Range::page(link.table, 0x1000).overlaps(*range)
        }
        _ => covers(what, space, link.nested, range),
    }
}
