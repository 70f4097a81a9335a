//! The operating system, as far as it is needed. Two tables say which file answers: what is Linux's
//! own, and what every Unix has.

/// An error number of the C library.
pub(crate) type Errno = i32;

cfg_select! {
    all(target_os = "linux", not(miri)) => {
        mod linux;
        #[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
        mod loader;
        mod rival;
        pub(crate) use linux::*;
        #[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
        #[allow(unused_imports, reason = "machines without asm don't ask")]
        pub(crate) use loader::is_being_unloaded;
        pub(crate) use rival::Rival;
    }
    _ => {
        mod no_linux;
        pub(crate) use no_linux::*;
    }
}

cfg_select! {
    all(unix, not(miri)) => {
        mod memory;
        mod roots;
        mod unix;
        pub(crate) use memory::*;
        pub(crate) use unix::*;
    }
    _ => {
        mod no_unix;
        pub(crate) use no_unix::*;
    }
}
