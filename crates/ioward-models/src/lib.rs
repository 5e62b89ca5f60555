//! Software models of IOMMUs that judge drivers.
#![no_std]
