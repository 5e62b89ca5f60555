//! IORT, IVRS and device tree to a neutral description of IOMMUs and what they serve.
#![no_std]
