//! Declares wire structures and flag words with the traits that all of them need.

/// Declares `#[repr(C)]` structures of plain bytes. Fields are public; those that the header explains in place
/// need no second comment here.
macro_rules! abi_struct {
    ($( $(#[$meta:meta])* pub struct $name:ident { $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)? } )*) => { $(
        $(#[$meta])*
        #[repr(C)]
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[allow(missing_docs, reason = "field names are those of the C header that the type cites")]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }

        impl Default for $name {
            /// All fields zero, padding included.
            fn default() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }
        }
    )* };
}

/// Declares a flag word: a transparent integer with `bitflags` operations that may stand in a wire structure.
/// Unknown bits are kept, the receiver decides what to do with them.
macro_rules! abi_flags {
    ($( $(#[$meta:meta])* pub struct $name:ident : $ty:ty { $( $(#[$($fmeta:tt)*])* const $flag:ident = $value:expr; )* } )*) => { $(
        $(#[$meta])*
        #[repr(transparent)]
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, Hash,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        pub struct $name($ty);

        #[allow(missing_docs, reason = "flag names are those of the C header that the type cites")]
        const _: () = {
            bitflags::bitflags! {
                impl $name: $ty { $( $(#[$($fmeta)*])* const $flag = $value; )* }
            }
        };

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                if self.is_empty() { f.write_str("0") } else { bitflags::parser::to_writer(self, f) }
            }
        }
    )* };
}

/// Declares numbers of one operation family under one type.
macro_rules! abi_numbers {
    ($ty:ty; $( $(#[$meta:meta])* $name:ident = $value:expr; )*) => {
        $( $(#[$meta])* #[allow(missing_docs, reason = "a number of the C header that the module cites")] pub const $name: $ty = $value; )*
    };
}

/// Gives a structure access to its union, the field `u` of 128 bytes.
macro_rules! abi_union {
    ($name:ident) => {
        impl $name {
            /// The same with the union's arm `arm`.
            pub fn with<T: zerocopy::IntoBytes + zerocopy::Immutable>(mut self, arm: &T) -> Self {
                self.set(arm);
                self
            }

            /// Reads an arm of the union.
            pub fn get<T: zerocopy::FromBytes>(&self) -> T {
                crate::xen::union_get(&self.u)
            }

            /// Writes an arm of the union; bytes beyond it stay.
            pub fn set<T: zerocopy::IntoBytes + zerocopy::Immutable>(&mut self, arm: &T) {
                crate::xen::union_set(&mut self.u, arm)
            }
        }
    };
}
