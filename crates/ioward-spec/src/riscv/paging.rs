//! Page-table entries of RISC-V: Sv39, Sv48, Sv57 and their x4 forms (RISC-V privileged architecture, version 1.12, 10.4 to 10.6).
