//! What all commands share on the way to whoever reads: width and colours, columns, progress, output.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`catalogue`] | functions by their names |
//! | [`style`] | width and colours |
//! | [`layout`] | columns and folded lines |
//! | [`changes`] | groups that changed |
//! | [`progress`] | one line that tells what is going on |
//! | [`output`] | standard output and files |

pub mod catalogue;
pub mod changes;
pub mod layout;
pub mod output;
pub mod progress;
pub mod style;

pub use catalogue::Catalogue;
pub use style::Style;
