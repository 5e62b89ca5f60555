//! A model of VT-d.
