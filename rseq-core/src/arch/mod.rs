//! One file per architecture with the asm that touches a thread's area; this table says which one
//! applies.
//!
//! Each file provides what `none.rs` does. Where none applies (another operating system, an
//! architecture without a file, Miri, or a build with `--cfg rseq_portable`, which the build script
//! sets for sanitizers that asm is opaque to), `none.rs` stands in and sections compile to the
//! portable mode alone, of which nothing is audited.

/// Defines the macro that tells `rseq-macros` which emitter a section needs. The name is that of
/// the emitter's file. Defines what the shell of a section calls. (In parentheses a `$`, which a
/// macro can't write into another macro by itself.)
#[rustfmt::skip]
macro_rules! emitter {
    (($d:tt) $($word:ident)*) => {
        /// Hands the tokens of a section on to its compiler, with the name of this target's emitter
        /// in front, and whether its checks for debug builds are wanted (`checked`) and its audit
        /// (`audit`).
        #[doc(hidden)]
        #[macro_export]
        macro_rules! __with_emitter {
            ($d facade:tt $d compiler:ident $d($d tokens:tt)*) => {
                $d facade::__private::$d compiler! { [$d facade] [$($word)*] $d($d tokens)* }
            };
        }
    };
}

/// A row of the table below: an architecture whose windows publish by several stores, with its
/// emitter. Its sections aren't audited.
#[allow(unused_macros, reason = "not every architecture is such a one")]
macro_rules! by_stores {
    ($name:ident) => {
        mod any;
        mod blocks;
        mod by_stores;
        mod machine;
        mod $name;
        pub use any::FAST;
        pub(crate) use any::*;
        pub(crate) use by_stores::{arm as arm_slowly, *};
        pub(crate) use $name::*;
        #[cfg(debug_assertions)]
        emitter!(($) $name checked);
        #[cfg(not(debug_assertions))]
        emitter!(($) $name);
    };
}

/// A row for where there is none.
#[allow(unused_macros, reason = "not every target is such a one")]
macro_rules! without_emitter {
    () => {
        mod none;
        pub use none::FAST;
        pub(crate) use none::*;
        #[cfg(debug_assertions)]
        emitter!(($) none checked);
        #[cfg(not(debug_assertions))]
        emitter!(($) none);
    };
}

#[cfg(all(test, unix, not(miri)))]
mod litmus;

cfg_select! {
    any(miri, rseq_portable, not(target_os = "linux")) => {
        without_emitter!();
    }
    all(target_arch = "x86_64", target_pointer_width = "64") => {
        mod any;
        mod blocks;
        mod x86_64;
        pub use any::FAST;
        pub(crate) use any::*;
        pub(crate) use x86_64::{locate as locate_quickly, *};
        #[cfg(all(debug_assertions, rseq_audited))]
        emitter!(($) x86_64 checked audit);
        #[cfg(all(debug_assertions, not(rseq_audited)))]
        emitter!(($) x86_64 checked);
        #[cfg(all(not(debug_assertions), rseq_audited))]
        emitter!(($) x86_64 audit);
        #[cfg(not(any(debug_assertions, rseq_audited)))]
        emitter!(($) x86_64);
    }
    all(target_arch = "aarch64", target_pointer_width = "64", target_endian = "little") => {
        by_stores!(aarch64);
    }
    all(target_arch = "riscv64", target_pointer_width = "64") => {
        by_stores!(riscv64);
    }
    all(target_arch = "loongarch64", target_pointer_width = "64") => {
        by_stores!(loongarch64);
    }
    all(target_arch = "powerpc64", target_endian = "little") => {
        by_stores!(powerpc64);
    }
    target_arch = "s390x" => {
        by_stores!(s390x);
    }
    all(target_arch = "arm", target_endian = "little") => {
        by_stores!(arm);
    }
    all(target_arch = "x86", target_feature = "sse2") => {
        by_stores!(i686);
    }
    _ => {
        without_emitter!();
    }
}
