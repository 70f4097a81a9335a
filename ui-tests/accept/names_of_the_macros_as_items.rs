#![deny(warnings)]
#![allow(non_upper_case_globals, non_snake_case, non_camel_case_types, dead_code, unused_macros)]

//! The names that the expansion uses for something of its own, as items of the module: a pattern
//! would take a static, a constant or a unit structure for what it binds.

macro_rules! module {
    ($items:ident, $($name:ident)*) => {
        mod $items {
            use rseq::{MmCid, PerCpu, rseq};
            use std::ptr::NonNull;
            use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

            $($items! { $name })*

            pub static HITS: PerCpu<AtomicU64> = PerCpu::new();
            static BY_CID: PerCpu<AtomicU64, MmCid> = PerCpu::new();
            static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
            static RINGS: PerCpu<Ring> = PerCpu::new();

            #[derive(Default)]
            struct Node {
                next: AtomicPtr<Node>,
            }

            #[derive(Default)]
            struct Ring {
                len: AtomicUsize,
                items: [AtomicU64; 4],
            }

            pub fn sections() {
                rseq! { commit |cpu| add(&HITS[cpu], 1) }
                rseq! { commit |cid: MmCid| add(&BY_CID[cid], 1) }
                rseq! {
                    prepare |cpu| {
                        let mine = &HITS[cpu];
                        let sum = mine.load(Relaxed) + 1;
                    }
                    commit store(mine, sum)
                    => ()
                    abort |n| { assert!(n > 0); }
                }
                // SAFETY: nodes in lists are valid, and four items fit in.
                unsafe {
                    let popped = rseq! {
                        critical |cpu| {
                            let first = load(&LISTS[cpu]);
                            if first == null { exit None }
                            let rest = load(&(*first).next);
                        }
                        commit store(&LISTS[cpu], rest)
                        => NonNull::new(first)
                    };
                    assert!(popped.is_none());
                    let mut word = 3_u64;
                    let there = &raw mut word;
                    let copied = rseq! {
                        prepare |cpu| { let ring = &RINGS[cpu]; }
                        critical {
                            let used = load(&ring.len);
                            if used == 4 { exit 0 }
                            store(&ring.items[used], 7);
                            copy(&raw const *there, there, 0_usize);
                            let more = used + 1;
                        }
                        commit store_release(&ring.len, more)
                        => more
                    };
                    assert!(copied <= 4);
                }
            }
        }
    };
}

macro_rules! statics {
    ($name:ident) => {
        static $name: u32 = 0;
    };
}

macro_rules! constants {
    ($name:ident) => {
        const $name: u32 = 0;
    };
}

macro_rules! units {
    ($name:ident) => {
        struct $name;
    };
}

macro_rules! types {
    ($name:ident) => {
        type $name = u32;
    };
}

macro_rules! macros {
    ($name:ident) => {
        macro_rules! $name {
            () => {
                compile_error!("a macro of the user's")
            };
        }
    };
}

macro_rules! functions {
    ($name:ident) => {
        fn $name() {}
    };
}

macro_rules! all {
    ($($items:ident)*) => {
        $(module! {
            $items, section audit outcome portable target value new aborts opened whole array from to
            length bytes window half at index outside_0 outside_1 outside_2 type_0 type_1 value_0 value_1
            value_2 offset_0 element_0 s0 s1 s2 s3 s4 s5 s6 s7 r0 r1 r2 r3 r4 r5 r6 r7
            retry attempt committed aborted exit0 exit1 fast cpus_offset b0 b1 p0 p1 signed0 again
            T0 T1 T2 P0 P1
            LOCATION core Section Outcome Typed Pointee
        })*

        pub(crate) fn main() {
            $($items::sections();)*
        }
    };
}

all! { statics constants units types macros functions }
