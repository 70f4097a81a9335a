//! Two allocators in one program, of which the environment chooses one before anything is allocated. So both do the same job in the same code.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use rseq::drain::StopError;
use rseq_allocator::PerCpuAlloc;

/// The variable that chooses.
pub const VARIABLE: &str = "ALLOCATOR";
const C_VARIABLE: &CStr = c"ALLOCATOR";

/// The names of both.
pub const NAMES: [&str; 2] = ["system", "percpu"];

const UNDECIDED: u8 = 0;
const SYSTEM: u8 = 1;
const PER_CPU: u8 = 2;

/// Either the system's allocator or the one per CPU. The choice costs both of them the same: a load and a branch.
pub struct Choice {
    per_cpu: PerCpuAlloc<System>,
    choice: AtomicU8,
}

impl Choice {
    pub const fn new() -> Self {
        Self { per_cpu: PerCpuAlloc::new(System), choice: AtomicU8::new(UNDECIDED) }
    }

    #[inline]
    fn is_per_cpu(&self) -> bool {
        match self.choice.load(Relaxed) {
            UNDECIDED => self.decide(),
            choice => choice == PER_CPU,
        }
    }

    /// Every thread that comes here decides the same.
    #[cold]
    fn decide(&self) -> bool {
        // SAFETY: the name is a C string, and the program doesn't change its environment.
        let value = unsafe { libc::getenv(C_VARIABLE.as_ptr()) };
        // SAFETY: a C string, if there is one.
        let system = !value.is_null() && unsafe { CStr::from_ptr(value) } == c"system";
        self.choice.store(if system { SYSTEM } else { PER_CPU }, Relaxed);
        !system
    }

    pub fn name(&self) -> &'static str {
        NAMES[usize::from(self.is_per_cpu())]
    }

    /// Gives back what is kept, by the allocator that keeps anything.
    pub fn trim(&self) -> Option<Result<usize, StopError>> {
        self.is_per_cpu().then(|| self.per_cpu.trim())
    }
}

// SAFETY: one of two allocators, and always the same.
unsafe impl GlobalAlloc for Choice {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { if self.is_per_cpu() { self.per_cpu.alloc(layout) } else { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { if self.is_per_cpu() { self.per_cpu.dealloc(object, layout) } else { System.dealloc(object, layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { if self.is_per_cpu() { self.per_cpu.alloc_zeroed(layout) } else { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe {
            if self.is_per_cpu() {
                self.per_cpu.realloc(object, layout, size)
            } else {
                System.realloc(object, layout, size)
            }
        }
    }
}
