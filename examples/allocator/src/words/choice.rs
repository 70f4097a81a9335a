//! Several allocators in one program, of which the environment chooses one before anything is
//! allocated. So all of them do the same job in the same code.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

#[cfg(feature = "peers")]
use mimalloc::MiMalloc;
use rseq::drain::StopError;
use rseq_allocator::PerCpuAlloc;
#[cfg(feature = "peers")]
use tikv_jemallocator::Jemalloc;

/// The variable that chooses.
pub const VARIABLE: &str = "ALLOCATOR";
const C_VARIABLE: &CStr = c"ALLOCATOR";

/// The names of all that there are. The first is what others are compared with, the second what a
/// program has without being told.
#[cfg(not(feature = "peers"))]
pub const NAMES: [&str; 2] = ["system", "percpu"];
#[cfg(feature = "peers")]
pub const NAMES: [&str; 4] = ["system", "percpu", "mimalloc", "jemalloc"];

const SYSTEM: u8 = 0;
const PER_CPU: u8 = 1;
#[cfg(feature = "peers")]
const MIMALLOC: u8 = 2;
#[cfg(feature = "peers")]
const JEMALLOC: u8 = 3;

/// One of the [`NAMES`]. The choice costs all of them the same: a load and a branch or two.
pub struct Choice {
    per_cpu: PerCpuAlloc<System>,
    /// The number of the name, and one more: 0 as long as nobody looked.
    choice: AtomicU8,
}

/// Calls a method of the allocator that was chosen.
macro_rules! chosen {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        // SAFETY: the caller's.
        unsafe {
            match $self.choice() {
                SYSTEM => System.$method($($argument),*),
                #[cfg(feature = "peers")]
                MIMALLOC => MiMalloc.$method($($argument),*),
                #[cfg(feature = "peers")]
                JEMALLOC => Jemalloc.$method($($argument),*),
                _ => $self.per_cpu.$method($($argument),*),
            }
        }
    };
}

impl Choice {
    pub const fn new() -> Self {
        Self { per_cpu: PerCpuAlloc::new(System), choice: AtomicU8::new(0) }
    }

    #[inline]
    fn choice(&self) -> u8 {
        match self.choice.load(Relaxed) {
            0 => self.decide(),
            choice => choice - 1,
        }
    }

    /// Every thread that comes here decides the same.
    #[cold]
    fn decide(&self) -> u8 {
        // SAFETY: the name is a C string, and the program doesn't change its environment.
        let value = unsafe { libc::getenv(C_VARIABLE.as_ptr()) };
        // SAFETY: a C string, if there is one.
        let value = if value.is_null() { c"" } else { unsafe { CStr::from_ptr(value) } };
        let found = NAMES.iter().position(|name| name.as_bytes() == value.to_bytes());
        let choice = found.map_or(PER_CPU, |number| number as u8);
        self.choice.store(choice + 1, Relaxed);
        choice
    }

    pub fn name(&self) -> &'static str {
        NAMES[usize::from(self.choice())]
    }

    /// Gives back what is kept, if that is by the allocator per CPU.
    pub fn trim(&self) -> Option<Result<usize, StopError>> {
        (self.choice() == PER_CPU).then(|| self.per_cpu.trim())
    }
}

// SAFETY: one of several allocators, and always the same.
unsafe impl GlobalAlloc for Choice {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        chosen!(self.alloc(layout))
    }

    unsafe fn dealloc(&self, object: *mut u8, layout: Layout) {
        chosen!(self.dealloc(object, layout))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        chosen!(self.alloc_zeroed(layout))
    }

    unsafe fn realloc(&self, object: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        chosen!(self.realloc(object, layout, size))
    }
}
