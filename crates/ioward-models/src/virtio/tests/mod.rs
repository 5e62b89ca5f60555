//! The judge is judged: a driver's part done by hand, rightly and wrongly.

mod judge;
mod requests;
mod rig;
