//! Page-table entries of VT-d: second stage (VT-d rev 4.1, 9.8) and first stage (9.7).
