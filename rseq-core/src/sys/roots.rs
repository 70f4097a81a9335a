//! Roots for the leak sanitizer: memory of the system's that may hold the only pointers to memory
//! of an allocator's. It looks for them on stacks, in statics, in what an allocator gave, and in
//! *root regions*.

use core::ptr::NonNull;

cfg_select! {
    all(target_os = "linux", rseq_leak_sanitizer) => {
        use core::arch::asm;
        use core::ffi::c_void;
        use core::mem::transmute;

        // compiler-rt's `sanitizer/lsan_interface.h`.
        unsafe extern "C" {
            fn __lsan_register_root_region(start: *const c_void, bytes: usize);
            fn __lsan_unregister_root_region(start: *const c_void, bytes: usize);
        }

        type Function = unsafe extern "C" fn(*const c_void, usize);

        /// A function of the sanitizer's; `None` where its runtime isn't there, as in a shared
        /// object whose program has none.
        macro_rules! linked {
            ($function:ident) => {{
                let function = $function as Function as *const ();
                let linked: *const ();
                // SAFETY: no instruction. The address of an undefined weak symbol is 0, which the
                // compiler would believe of no function.
                unsafe {
                    asm!(
                        ".weak {function}",
                        "/* {address} */",
                        function = sym $function,
                        address = inlateout(reg) function => linked,
                        options(pure, readonly, nostack, preserves_flags),
                    );
                }
                // SAFETY: null, or the address of a function of this type.
                unsafe { transmute::<*const (), Option<Function>>(linked) }
            }};
        }

        /// Has the sanitizer look for pointers in this memory, as far as it can be read.
        pub(super) fn add(memory: NonNull<u8>, length: usize) {
            let Some(register) = linked!(__lsan_register_root_region) else { return };
            // The sanitizer takes a lock, for which a handler on top of this would wait for ever.
            // SAFETY: takes note of two numbers.
            super::without_signals(|| unsafe { register(memory.as_ptr().cast(), length) });
        }

        /// Ends that.
        ///
        /// # Safety
        /// The memory was added, with the same length. Anything else has the sanitizer end the
        /// program.
        pub(super) unsafe fn remove(memory: NonNull<u8>, length: usize) {
            let Some(unregister) = linked!(__lsan_unregister_root_region) else { return };
            // SAFETY: as above.
            super::without_signals(|| unsafe { unregister(memory.as_ptr().cast(), length) });
        }
    }
    _ => {
        /// Nobody to tell.
        pub(super) fn add(_memory: NonNull<u8>, _length: usize) {}

        /// As above.
        ///
        /// # Safety
        /// None needed.
        pub(super) unsafe fn remove(_memory: NonNull<u8>, _length: usize) {}
    }
}
