use rseq::PerCpu;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// Names that an expansion could use by mistake, when they are something else here.
mod shadows {
    #![allow(dead_code, non_camel_case_types)]
    pub mod core {}
    pub mod std {}
    pub mod rseq {}
    pub struct Option;
    pub struct Result;
    pub struct Section;
    pub struct Ordering;
    pub struct u64;
    pub struct u32;
    pub struct bool;
    pub struct CpuId;
}

fn hit(slots: &PerCpu<AtomicU64>) -> usize {
    #[allow(unused_imports)]
    use shadows::*;
    #[allow(unused_macros)]
    macro_rules! asm {
        ($($any:tt)*) => { compile_error!("the user's asm!") };
    }
    use ::rseq::rseq;
    rseq! {
        prepare |cpu: CpuId| {
            let slot = &slots[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
        => cpu.get()
        abort |_| {}
    }
}

/// Methods by the names of the macro's own, on everything that there is.
#[allow(dead_code)]
trait OnEverything: Sized {
    fn index(self) -> Vec<Self> {
        unreachable!("the user's method")
    }
    fn value<V>(self, _: V) -> Vec<V> {
        unreachable!("the user's method")
    }
    fn bits(self) -> &'static str {
        unreachable!("the user's method")
    }
    fn address(self) -> &'static str {
        unreachable!("the user's method")
    }
    fn access(self) -> &'static str {
        unreachable!("the user's method")
    }
    fn store<V>(self, _: V, _: std::sync::atomic::Ordering) {
        unreachable!("the user's method")
    }
    fn descriptor(self) {}
    fn area(self) {}
    fn committed(self) {}
    fn commit_portably<F>(self, _: F) {}
    fn commit_to_raw_pointer(self) -> &'static str {
        unreachable!("the user's method")
    }
}

impl<T> OnEverything for T {}

pub(crate) fn main() {
    assert!(hit(&HITS) < rseq::slots());
    assert_eq!(hits(), 1);
}
