//! The VT-d driver.
