#![deny(warnings)]

use rseq::rseq;
use std::sync::atomic::{Ordering::Relaxed, *};

/// Every step on one integer type, against what Rust says.
macro_rules! integers {
    ($($function:ident: $type:ident, $atomic:ident;)*) => {$(
        fn $function() {
            const VALUES: [$type; 8] =
                [0, 1, 2, 7, $type::MAX, $type::MIN, $type::MAX / 3, $type::MIN / 5 + 100];
            for a in VALUES {
                for b in VALUES {
                    operations(a, b);
                    comparisons(a, b);
                }
                literals(a);
            }

            fn operations(a: $type, b: $type) {
                let (left, right, scratch, place) =
                    ($atomic::new(a), $atomic::new(b), $atomic::new(9), $atomic::new(9));
                let computed = rseq! {
                    critical |_cpu| {
                        let one = load(&left);
                        let other: $type = load(&right);
                        let sum = one + other;
                        let difference = one - other;
                        let both = one & other;
                        let either = one | other;
                        let unlike = one ^ other;
                        store(&scratch, difference);
                    }
                    commit store(&place, sum)
                    => (one, other, sum, difference, both, either, unlike)
                };
                assert_eq!(computed, (a, b, a.wrapping_add(b), a.wrapping_sub(b), a & b, a | b, a ^ b));
                assert_eq!((scratch.into_inner(), place.into_inner()), (a.wrapping_sub(b), a.wrapping_add(b)));
                let place = $atomic::new(9);
                let shifted = rseq! {
                    critical |_cpu| {
                        let one = load(&left);
                        let other = load(&right);
                        let up = one << other;
                        let down = one >> other;
                    }
                    commit store(&place, down)
                    => (up, down)
                };
                assert_eq!(shifted, (a.wrapping_shl(b as u32), a.wrapping_shr(b as u32)));
                // By operands that are ordinary Rust, on either side.
                let computed = rseq! {
                    critical |_cpu| {
                        let one = load(&left);
                        let sum = b + one;
                        let difference = b - one;
                        let shifted = b >> one;
                        let more = one << (b as u32).leading_zeros();
                    }
                    commit store(&place, b)
                    => (sum, difference, shifted, more)
                };
                assert_eq!(computed, (
                    a.wrapping_add(b),
                    b.wrapping_sub(a),
                    b.wrapping_shr(a as u32),
                    a.wrapping_shl((b as u32).leading_zeros()),
                ));
                assert_eq!(place.into_inner(), b);
            }

            fn comparisons(a: $type, b: $type) {
                let (left, right, place) = ($atomic::new(a), $atomic::new(b), $atomic::new(9));
                macro_rules! compare {
                    ($operator:tt) => {{
                        let left_here = rseq! {
                            critical |_cpu| {
                                let one = load(&left);
                                let other = load(&right);
                                if one $operator other { exit true }
                            }
                            commit add(&place, 1)
                            => false
                        };
                        let mirrored = rseq! {
                            critical |_cpu| {
                                let other = load(&right);
                                if a $operator other { exit true }
                            }
                            commit add(&place, 1)
                            => false
                        };
                        assert_eq!((left_here, mirrored), (a $operator b, a $operator b));
                    }};
                }
                compare!(==);
                compare!(!=);
                compare!(<);
                compare!(<=);
                compare!(>);
                compare!(>=);
                let committed = [a == b, a != b, a < b, a <= b, a > b, a >= b].iter().filter(|left| !**left).count();
                assert_eq!(place.into_inner(), 9 + 2 * committed as $type);
            }

            fn literals(a: $type) {
                let (left, place) = ($atomic::new(a), $atomic::new(9));
                let computed = rseq! {
                    critical |_cpu| {
                        let one = load(&left);
                        let more = one + 100;
                        let less = 3 - one;
                        let lower = 15 & one;
                        let up = one << 3;
                        let down = one >> 2;
                        let number = 1 << 4;
                        let number = number ^ one;
                        store(&place, 7);
                        if one == 0 { exit (more, less, lower, up, down, number) }
                        if 1 >= one { exit (more, less, lower, up, down, number) }
                    }
                    commit store(&place, 42)
                    => (more, less, lower, up, down, number)
                };
                let expected = (
                    a.wrapping_add(100),
                    (3 as $type).wrapping_sub(a),
                    15 & a,
                    a << 3,
                    a >> 2,
                    16 ^ a,
                );
                assert_eq!(computed, expected);
                assert_eq!(place.load(Relaxed), if a == 0 || 1 >= a { 7 } else { 42 });
            }
        }
    )*};
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

/// Numbers that no instruction holds, negative ones, and those of other notations.
fn large_literals() {
    let (wide, signed, word) = (AtomicU64::new(1), AtomicI64::new(-1), AtomicU32::new(1));
    let computed = rseq! {
        critical |_cpu| {
            let one = load(&wide);
            let large = one + 0xfedc_ba98_7654_3210;
            let shifted = 0x8000_0000_0000_0000_u64 >> one;
            let minus = load(&signed);
            let less = minus + -5;
            let least = minus ^ 0x7fff_ffff_ffff_ffff;
            let top = load(&word);
            let top = top | 0xf000_0000;
            if less != -6 { exit None }
        }
        commit store(&wide, 0xffff_ffff_ffff_ffff)
        => Some((large, shifted, less, least, top))
    };
    assert_eq!(computed, Some((0xfedc_ba98_7654_3211, 1_u64 << 62, -6, i64::MIN, 0xf000_0001)));
    assert_eq!(wide.into_inner(), u64::MAX);
    let byte = AtomicU8::new(b'a');
    rseq! {
        critical |_cpu| { let byte_there = load(&byte); let next = byte_there + b'\x02'; }
        commit store(&byte, next)
    }
    assert_eq!(byte.into_inner(), b'c');
}

fn flags() {
    let (flag, other) = (AtomicBool::new(true), AtomicBool::new(false));
    let computed = rseq! {
        critical |_cpu| {
            let set = load(&flag);
            let unset = load(&other);
            let both = set & unset;
            let either = set | unset;
            let turned = set ^ true;
            store(&other, either);
            if turned != false { exit None }
            if set == unset { exit None }
        }
        commit store(&flag, turned)
        => Some((set, unset, both, either, turned))
    };
    assert_eq!(computed, Some((true, false, false, true, false)));
    assert!(!flag.into_inner() && other.into_inner());
}

fn copies() {
    let from = [1_u8, 2, 3, 4, 5, 6, 7, 8];
    let (mut to, length, place) = ([0_u8; 8], AtomicUsize::new(3), AtomicU8::new(0));
    // SAFETY: both are of eight bytes, of this function's own.
    unsafe {
        rseq! {
            critical |_cpu| {
                let length = load(&length);
                copy(&raw const from, &raw mut to, length);
                copy(from.as_ptr(), to.as_mut_ptr().add(6), 2);
                copy(from.as_ptr(), to.as_mut_ptr(), 0);
            }
            commit store(&place, 1)
        }
    }
    assert_eq!(to, [1, 2, 3, 0, 0, 0, 1, 2]);
    assert_eq!(place.into_inner(), 1);
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
    large_literals();
    flags();
    copies();
}
