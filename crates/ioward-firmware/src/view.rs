//! How a raw view of a structure is written: its fields by offset and width, one a line.

/// A view of a structure: `offset name: number;` a field. What lies beyond the structure's end reads as zero.
macro_rules! view {
    ($(#[$doc:meta])* $view:ident, $least:literal bytes { $($(#[$field_doc:meta])* $at:literal $name:ident: $number:ident;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $view<'a>(pub(super) $crate::Raw<'a>);

        impl $view<'_> {
            /// The bytes that the first revision of this structure has before anything of variable length.
            pub const LEAST: u32 = $least;
            $($(#[$field_doc])* pub fn $name(&self) -> $number { self.0.$number($at) })*
        }
    };
}
pub(crate) use view;
