//! What a model reports when somebody does what its specification forbids or leaves undefined.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// One thing that must not have happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Who saw it: the model's name, or `memory`.
    pub by: String,
    /// The normative text: specification and section.
    pub section: &'static str,
    /// What happened, with the addresses and values that it happened to.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [{}]", self.by, self.what, self.section)
    }
}

/// Where a machine's models and its memory report to. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Violations(Arc<Mutex<Vec<Violation>>>);

impl Violations {
    /// Adds one.
    pub fn report(&self, by: &str, section: &'static str, what: impl Into<String>) {
        let violation = Violation { by: by.into(), section, what: what.into() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(violation);
    }

    /// All so far.
    pub fn all(&self) -> Vec<Violation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All since the last call.
    pub fn take(&self) -> Vec<Violation> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Panics with the list if there is one: for the end of a test.
    #[track_caller]
    pub fn assert_none(&self) {
        let all = self.all();
        assert!(
            all.is_empty(),
            "violations:\n{}",
            all.iter().map(|v| format!("  {v}\n")).collect::<String>()
        );
    }
}
