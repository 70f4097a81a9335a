#![deny(warnings)]

use rseq::{MmCid, PerCpu, rseq};
use std::sync::atomic::{Ordering::Relaxed, *};

/// Every form on one integer type: by a literal, by a value from outside and by one of the window,
/// on an atomic and on a raw pointer
/// whose neighbours must stay as they are.
macro_rules! integers {
    ($($function:ident: $type:ident, $atomic:ident;)*) => {$(
        fn $function() {
            const VALUES: [$type; 6] = [0, 1, 3, $type::MAX, $type::MIN, $type::MAX / 3];
            for old in VALUES {
                for by in VALUES {
                    each!($atomic, $type, store, old, by, by);
                    each!($atomic, $type, store_release, old, by, by);
                    each!($atomic, $type, add, old, by, old.wrapping_add(by));
                    each!($atomic, $type, sub, old, by, old.wrapping_sub(by));
                    each!($atomic, $type, and, old, by, old & by);
                    each!($atomic, $type, or, old, by, old | by);
                    each!($atomic, $type, xor, old, by, old ^ by);
                }
                let place = $atomic::new(old);
                rseq! { commit |_cpu| add(&place, 3) }
                rseq! { commit |_cpu| sub(&place, 1) }
                rseq! { commit |_cpu| and(&place, 0x7f) }
                rseq! { commit |_cpu| or(&place, 0x21) }
                rseq! { commit |_cpu| xor(&place, 0x12) }
                assert_eq!(place.into_inner(), ((old.wrapping_add(2) & 0x7f) | 0x21) ^ 0x12);
            }
        }
    )*};
}

macro_rules! each {
    ($atomic:ident, $type:ident, $form:ident, $old:expr, $by:expr, $expected:expr) => {
        let place = $atomic::new($old);
        rseq! { commit |_cpu| $form(&place, $by) }
        assert_eq!(place.load(Relaxed), $expected);

        let (place, by) = ($atomic::new($old), $atomic::new($by));
        rseq! {
            critical |_cpu| { let value = load(&by); }
            commit $form(&place, value)
        }
        assert_eq!(place.into_inner(), $expected);

        let neighbour = !($old as $type);
        let mut places = [neighbour, $old, neighbour];
        let place = &raw mut places[1];
        // SAFETY: a place of this function's own.
        unsafe {
            rseq! { commit |_cpu| $form(place, $by) }
        }
        assert_eq!(places, [neighbour, $expected, neighbour]);
    };
}

integers! {
    bytes: u8, AtomicU8;
    halves: u16, AtomicU16;
    words: u32, AtomicU32;
    wide: u64, AtomicU64;
    sizes: usize, AtomicUsize;
    signed_bytes: i8, AtomicI8;
    signed_halves: i16, AtomicI16;
    signed_words: i32, AtomicI32;
    signed_wide: i64, AtomicI64;
    signed_sizes: isize, AtomicIsize;
}

fn flags() {
    for old in [false, true] {
        for by in [false, true] {
            macro_rules! flag {
                ($form:ident, $expected:expr) => {
                    let place = AtomicBool::new(old);
                    rseq! { commit |_cpu| $form(&place, by) }
                    assert_eq!(place.into_inner(), $expected);
                };
            }
            flag!(store, by);
            flag!(store_release, by);
            flag!(and, old & by);
            flag!(or, old | by);
            flag!(xor, old ^ by);
        }
    }
}

/// Slots that the window finds by itself, of both kinds.
fn slots() {
    static HITS: PerCpu<AtomicU64> = PerCpu::new();
    static BYTES: PerCpu<AtomicU8, MmCid> = PerCpu::new();
    for _ in 0..10 {
        rseq! { commit |cpu| add(&HITS[cpu], 5) }
        rseq! { commit |cpu| sub(&HITS[cpu], 2) }
        rseq! { commit |cid: MmCid| add(&BYTES[cid], 5) }
        rseq! { commit |cid: rseq::MmCid| sub(&BYTES[cid], 2) }
    }
    assert_eq!(HITS.iter().fold(0_u64, |sum, slot| sum.wrapping_add(slot.load(Relaxed))), 30);
    assert_eq!(BYTES.iter().fold(0_u8, |sum, slot| sum.wrapping_add(slot.load(Relaxed))), 30);
}

pub(crate) fn main() {
    bytes();
    halves();
    words();
    wide();
    sizes();
    signed_bytes();
    signed_halves();
    signed_words();
    signed_wide();
    signed_sizes();
    flags();
    slots();
}
