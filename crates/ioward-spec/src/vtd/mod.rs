//! Intel VT-d (Intel Virtualization Technology for Directed I/O, revision 4.1).

pub mod paging;
