#![deny(warnings)]

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};

pub struct Node {
    pub next: AtomicPtr<Node>,
    pub value: AtomicU64,
}

static LISTS: ::rseq::PerCpu<AtomicPtr<Node>> = ::rseq::PerCpu::new();
static HITS: ::rseq::PerCpu<AtomicU64> = ::rseq::PerCpu::new();

/// Names that an expansion could use by mistake, when they are something else here.
#[allow(dead_code, non_camel_case_types)]
mod shadows {
    pub mod core {}
    pub mod std {}
    pub mod rseq {}
    pub struct Option;
    pub struct Some;
    pub struct None;
    pub struct Result;
    pub struct Ok;
    pub struct Copy;
    pub struct Fn;
    pub struct Outcome;
    pub struct Typed;
    pub struct Section;
    pub struct Word;
    pub struct CpuId;
    pub struct u64;
    pub struct u8;
    pub struct usize;
    pub struct bool;
    pub struct str;
    pub fn load() {}
    pub fn store() {}
    pub fn add() {}
    pub fn null() {}
    pub fn drop() {}
}

fn in_the_window(items: *mut AtomicU64, at: &AtomicUsize, list: &AtomicPtr<Node>) -> [::core::primitive::u64; 3] {
    #[allow(unused_imports)]
    use shadows::*;
    #[allow(unused_macros)]
    macro_rules! asm {
        ($($any:tt)*) => { compile_error!("the user's asm!") };
    }
    use ::rseq::rseq;
    // SAFETY: the caller's item and node.
    unsafe {
        rseq! {
            critical |cpu: CpuId| {
                let hits: ::core::primitive::u64 = load(&HITS[cpu]);
                let there = load(at);
                let item = load(&items[there]);
                let first = load(list);
                if first == null { exit [0, 0, 0] }
                let rest = load(&(*first).next);
                let value = load(&(*first).value);
                store(list, rest);
                copy(items, items, 0);
                let sum = item + hits;
            }
            commit add(&HITS[cpu], 1)
            => [sum, item, value]
            abort |_| {}
        }
    }
}

pub(crate) fn main() {
    let mut item = AtomicU64::new(7);
    let mut node = Node { next: AtomicPtr::default(), value: AtomicU64::new(9) };
    let list = AtomicPtr::new(&raw mut node);
    let at = AtomicUsize::new(0);
    assert_eq!(in_the_window(&raw mut item, &at, &list), [7, 7, 9]);
    assert_eq!(in_the_window(&raw mut item, &at, &list), [0, 0, 0]);
    assert!(LISTS.iter().count() > 1);
}
