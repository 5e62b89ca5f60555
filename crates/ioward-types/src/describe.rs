//! The neutral description of a machine: what firmware parsers say and `discover` reads.
