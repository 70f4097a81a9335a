//! One file per architecture with the asm that touches a thread's area; this table says which one applies.
//!
//! Each file provides what `none.rs` does. Where none applies (another operating
//! system, an architecture without a file, Miri, or a build with `--cfg rseq_portable`, which the build script sets for
//! sanitizers that asm is opaque to), `none.rs` stands in and sections compile to the portable mode alone, of which nothing is audited.

/// Defines the macro that tells `rseq-macros` which emitter a section needs. The name is that of the emitter's file.
/// Defines what the shell of a section calls. (In parentheses a `$`, which a macro can't write into another macro by itself.)
#[rustfmt::skip]
macro_rules! emitter {
    (($d:tt) $($word:ident)*) => {
        /// Hands the tokens of a section on to its compiler, with the name of this target's emitter in front, and whether
        /// its checks for debug builds are wanted (`checked`) and its audit (`audit`).
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __with_emitter {
            ($d facade:tt $d compiler:ident $d($d tokens:tt)*) => {
                $d facade::__private::$d compiler! { [$d facade] [$($word)*] $d($d tokens)* }
            };
        }
    };
}

cfg_select! {
    all(
        target_arch = "x86_64",
        target_pointer_width = "64",
        target_os = "linux",
        not(any(miri, rseq_portable)),
    ) => {
        mod x86_64;
        pub(crate) use x86_64::*;
        #[cfg_attr(feature = "audit", path = "../audit/mod.rs")]
        #[cfg_attr(not(feature = "audit"), path = "../audit/none.rs")]
        pub(crate) mod audit;
        #[cfg(all(debug_assertions, feature = "audit"))]
        emitter!(($) x86_64 checked audit);
        #[cfg(all(debug_assertions, not(feature = "audit")))]
        emitter!(($) x86_64 checked);
        #[cfg(all(not(debug_assertions), feature = "audit"))]
        emitter!(($) x86_64 audit);
        #[cfg(not(any(debug_assertions, feature = "audit")))]
        emitter!(($) x86_64);
    }
    _ => {
        mod none;
        pub(crate) use none::*;
        #[path = "../audit/none.rs"]
        pub(crate) mod audit;
        emitter!(($) none);
    }
}
