//! Mediated devices (rule 12).

use alloc::string::String;

/// A device whose DMA another device does. Its group exists only so that user space can own it: it has no IOMMU, and there
/// is nothing here to ask a domain of.
#[derive(Debug)]
pub struct Mediated {
    name: String,
    owner: Option<&'static str>,
}

/// A mediated device that somebody owns. Dropping it gives it back.
#[derive(Debug)]
pub struct OwnedMediated<'m> {
    device: &'m mut Mediated,
}

impl Mediated {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), owner: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes it for a user. That there is one owner is seen to by the borrow.
    pub fn take(&mut self, owner: &'static str) -> OwnedMediated<'_> {
        self.owner = Some(owner);
        OwnedMediated { device: self }
    }
}

impl OwnedMediated<'_> {
    /// Who owns it.
    pub fn owner(&self) -> &'static str {
        self.device.owner.unwrap_or_default()
    }
}

impl Drop for OwnedMediated<'_> {
    fn drop(&mut self) {
        self.device.owner = None;
    }
}
