//! x
use ioward_types::describe::*;
/// x
pub fn facts<'a>(_bytes: &'a [u8], _sink: &mut dyn FnMut(Fact<'a>)) {}
