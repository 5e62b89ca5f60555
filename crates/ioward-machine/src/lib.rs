//! A whole machine from a description: models, memory, drivers, subsystem.
