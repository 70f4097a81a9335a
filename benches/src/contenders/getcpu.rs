//! The ways to ask for the CPU without a restartable section.

use std::ffi::{c_int, c_uint, c_void};
use std::mem::transmute;

/// How the kernel declares it: the CPU, the node, and what isn't used any more.
type Getcpu = unsafe extern "C" fn(*mut c_uint, *mut c_uint, *mut c_void) -> c_int;

/// Of the vDSO: the function behind the system call `getcpu`, which makes none.
#[derive(Clone, Copy)]
pub struct Vdso(Getcpu);

impl Vdso {
    /// `None` if this machine's has no such function.
    ///
    /// glibc's `sched_getcpu` isn't it: from 2.35 on that reads the id of the restartable sequence.
    pub fn find() -> Option<Self> {
        // SAFETY: the vDSO, which each process has, isn't loaded by this; the pointer is checked,
        // and the function is the kernel's, of this type.
        unsafe {
            let image = libc::dlopen(c"linux-vdso.so.1".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            let function = (!image.is_null()).then(|| libc::dlsym(image, c"__vdso_getcpu".as_ptr()))?;
            (!function.is_null()).then(|| Self(transmute::<*mut c_void, Getcpu>(function)))
        }
    }

    /// The CPU that the thread runs on.
    #[inline(always)]
    pub fn cpu(self) -> usize {
        let mut cpu = 0;
        // SAFETY: the function fills the number, and allows for null pointers.
        unsafe { (self.0)(&mut cpu, std::ptr::null_mut(), std::ptr::null_mut()) };
        cpu as usize
    }
}

/// As most programs ask: by libc.
#[inline(always)]
pub fn by_libc() -> usize {
    // SAFETY: the call has no conditions.
    unsafe { libc::sched_getcpu() }.try_into().expect("Linux says which CPU it is")
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn all_say_the_same() {
        let vdso = Vdso::find().expect("x86-64 has it");
        let same = (0..1000).any(|_| vdso.cpu() == by_libc());
        assert!(same, "the thread would have to move in between each time");
    }
}
