//! Each step of a window does what Rust does, for values of each type: the instructions that an
//! emitter chose are compared with the language. Runs on every architecture; the windows here are
//! as short as they can be, with operands in registers and as numbers.
#![cfg(target_os = "linux")]

use std::sync::atomic::*;

use Ordering::Relaxed;
use rseq::{PerCpu, rseq};

/// Values at which instructions of the wrong width or sign go wrong.
macro_rules! edges {
    ($integer:ty) => {
        [
            0,
            1,
            2,
            5,
            7,
            100,
            <$integer>::MAX / 2,
            <$integer>::MAX / 2 + 1,
            <$integer>::MAX - 1,
            <$integer>::MAX,
            <$integer>::MIN,
            <$integer>::MIN + 1,
        ]
    };
}

macro_rules! integer {
    ($module:ident: $integer:ident, $atomic:ident, $number:literal) => {
        mod $module {
            use super::*;

            /// The value that a window computes of two it loads, and what it stored.
            macro_rules! computes {
                ($left:ident $operation:tt $right:ident = $expected:expr) => {{
                    let (left, right, to) = ($atomic::new($left), $atomic::new($right), $atomic::new(1));
                    let both = rseq! {
                        critical |_cpu| {
                            let left = load(&left);
                            let right = load(&right);
                            let value = left $operation right;
                        }
                        commit store(&to, value)
                        => value
                    };
                    assert_eq!((both, to.into_inner()), ($expected, $expected), "{} {} {}", $left, stringify!($operation), $right);
                    let numbered = rseq! {
                        critical |_cpu| {
                            let left = load(&left);
                            let value = left $operation $number;
                        }
                        commit store(&right, value)
                        => value
                    };
                    let $right: $integer = $number;
                    let expected = $expected;
                    assert_eq!((numbered, right.into_inner()), (expected, expected), "{} {} {}", $left, stringify!($operation), $right);
                }};
            }

            #[test]
            fn computes() {
                for left in edges!($integer) {
                    for right in edges!($integer) {
                        computes!(left + right = left.wrapping_add(right));
                        computes!(left - right = left.wrapping_sub(right));
                        computes!(left & right = left & right);
                        computes!(left | right = left | right);
                        computes!(left ^ right = left ^ right);
                    }
                }
            }

            /// A number on the left, which no instruction takes there.
            #[test]
            fn computes_with_numbers_on_the_left() {
                for value in edges!($integer) {
                    let (from, to) = ($atomic::new(value), $atomic::new(1));
                    let difference = rseq! {
                        critical |_cpu| {
                            let from = load(&from);
                            let difference = $number - from;
                        }
                        commit store_release(&to, difference)
                        => difference
                    };
                    let number: $integer = $number;
                    let expected = number.wrapping_sub(value);
                    assert_eq!((difference, to.into_inner()), (expected, expected), "{value}");
                }
            }

            #[test]
            fn shifts() {
                for left in edges!($integer) {
                    for count in [0, 1, 3, 7, 8, 15, 31, 63, 100] {
                        let (shifted, times) = ($atomic::new(left), $atomic::new(count));
                        let (up, down) = rseq! {
                            critical |_cpu| {
                                let value = load(&shifted);
                                let by = load(&times);
                                let up = value << by;
                                let down = value >> by;
                            }
                            commit store(&shifted, value)
                            => (up, down)
                        };
                        let (up_by_3, down_by_3) = rseq! {
                            critical |_cpu| {
                                let value = load(&shifted);
                                let up = value << 3;
                                let down = value >> 3;
                            }
                            commit store(&shifted, value)
                            => (up, down)
                        };
                        let by = count as u32;
                        let expected = (left.wrapping_shl(by), left.wrapping_shr(by), left << 3, left >> 3);
                        assert_eq!((up, down, up_by_3, down_by_3), expected, "{left} by {count}");
                    }
                }
            }

            macro_rules! compares {
                ($left:ident $comparison:tt $right:ident) => {{
                    let (left, right, to) = ($atomic::new($left), $atomic::new($right), $atomic::new(0));
                    let found = rseq! {
                        critical |_cpu| {
                            let left = load(&left);
                            let right = load(&right);
                            if left $comparison right { exit true }
                        }
                        commit store(&to, 1)
                        => false
                    };
                    let expected = $left $comparison $right;
                    assert_eq!((found, to.load(Relaxed)), (expected, $integer::from(!expected)), "{} {} {}", $left, stringify!($comparison), $right);
                    let found = rseq! {
                        critical |_cpu| {
                            let left = load(&left);
                            if left $comparison $number { exit true }
                            if left $comparison 0 { exit true }
                        }
                        commit store(&to, 1)
                        => false
                    };
                    let (number, zero): ($integer, $integer) = ($number, 0);
                    assert_eq!(found, $left $comparison number || $left $comparison zero, "{} {} {number} or 0", $left, stringify!($comparison));
                }};
            }

            #[test]
            #[allow(unused_comparisons, clippy::absurd_extreme_comparisons, reason = "edges are what it is about")]
            fn compares() {
                for left in edges!($integer) {
                    for right in edges!($integer) {
                        compares!(left == right);
                        compares!(left != right);
                        compares!(left < right);
                        compares!(left <= right);
                        compares!(left > right);
                        compares!(left >= right);
                    }
                }
            }

            /// The commit forms, between neighbours that must stay as they are.
            #[test]
            fn updates() {
                macro_rules! update {
                    ($form:ident, $old:ident, $by:ident => $expected:expr) => {{
                        let row = [$atomic::new(!0), $atomic::new($old), $atomic::new(!0)];
                        rseq! { commit |_cpu| $form(&row[1], $by) }
                        assert_eq!(row.map($atomic::into_inner), [!0, $expected, !0], "{} of {} by {}", stringify!($form), $old, $by);
                        let row = [$atomic::new(!0), $atomic::new($old), $atomic::new(!0)];
                        rseq! { commit |_cpu| $form(&row[1], $number) }
                        let $by: $integer = $number;
                        assert_eq!(row.map($atomic::into_inner), [!0, $expected, !0], "{} of {} by {}", stringify!($form), $old, $by);
                    }};
                }
                for old in edges!($integer) {
                    for by in edges!($integer) {
                        update!(add, old, by => old.wrapping_add(by));
                        update!(sub, old, by => old.wrapping_sub(by));
                        update!(and, old, by => old & by);
                        update!(or, old, by => old | by);
                        update!(xor, old, by => old ^ by);
                        update!(store, old, by => by);
                        update!(store_release, old, by => by);
                    }
                }
            }
        }
    };
}

integer!(u8s: u8, AtomicU8, 0x55);
integer!(i8s: i8, AtomicI8, -3);
integer!(u16s: u16, AtomicU16, 0x8001);
integer!(i16s: i16, AtomicI16, -300);
integer!(u32s: u32, AtomicU32, 0x7fff_fff1);
integer!(i32s: i32, AtomicI32, -70_000);
integer!(usizes: usize, AtomicUsize, 0x1234_5678);
integer!(isizes: isize, AtomicIsize, -0x1234_5678);
#[cfg(target_pointer_width = "64")]
integer!(u64s: u64, AtomicU64, 0x7fff_ffff);
#[cfg(target_pointer_width = "64")]
integer!(i64s: i64, AtomicI64, -1);

#[test]
fn bools() {
    for (left, right) in [(false, false), (false, true), (true, false), (true, true)] {
        let (first, second, to) = (AtomicBool::new(left), AtomicBool::new(right), AtomicBool::new(false));
        let values = rseq! {
            critical |_cpu| {
                let first = load(&first);
                let second = load(&second);
                let and = first & second;
                let or = first | second;
                let xor = first ^ second;
                if first == second { exit (and, or, xor) }
            }
            commit store(&to, or)
            => (and, or, xor)
        };
        assert_eq!(values, (left & right, left | right, left ^ right));
        assert_eq!(to.into_inner(), left != right);
    }
}

/// An element, of one byte and so many more.
#[derive(Debug)]
#[repr(C)]
struct Element<const MORE: usize> {
    byte: AtomicU8,
    more: [u8; MORE],
}

/// Elements of every size that has instructions of its own, and of some that have none; by an index
/// from the window, and by a number.
#[test]
fn elements() {
    macro_rules! elements {
        ($($more:literal)*) => {$({
            let elements: [Element<$more>; 9] =
                std::array::from_fn(|number| Element { byte: AtomicU8::new(number as u8 + 1), more: [0xee; $more] });
            let index = AtomicUsize::new(0);
            for number in 0..elements.len() {
                index.store(number, Relaxed);
                let pointer = AtomicPtr::new((&raw const elements).cast_mut());
                // SAFETY: the pointer is to the elements, and the index is below their number.
                let found = unsafe {
                    rseq! {
                        critical |_cpu| {
                            let number = load(&index);
                            let all = load(&pointer);
                            let selected = load(&elements[number].byte);
                            let behind = load(&(*all)[number].byte);
                            let fifth = load(&(*all)[5].byte);
                        }
                        commit store(&index, number)
                        => (selected, behind, fifth)
                    }
                };
                assert_eq!(found, (number as u8 + 1, number as u8 + 1, 6), "{} more bytes", $more);
            }
            assert!(elements.iter().all(|element| element.more == [0xee; $more]));
        })*};
    }
    elements!(0 1 2 3 7 11 15 23 99);
}

/// Slots of the size that all small values have, and of a larger one, found in the window and
/// before it.
#[test]
fn slots() {
    static SMALL: PerCpu<AtomicUsize> = PerCpu::new();
    static LARGE: std::sync::LazyLock<PerCpu<[AtomicUsize; 20_000]>> =
        std::sync::LazyLock::new(|| PerCpu::from_fn(|_| [const { AtomicUsize::new(0) }; 20_000]));
    const EACH: usize = 100;
    let large = &*LARGE;
    for _ in 0..EACH {
        rseq! { commit |cpu| add(&SMALL[cpu], 1) }
        // SAFETY: below the number of elements.
        unsafe {
            rseq! { commit |cpu| add(&large[cpu][19_999], 1) }
        }
        rseq! {
            prepare |cpu| {
                let slot = &large[cpu][0];
                let next = slot.load(Relaxed) + 1;
            }
            commit store(slot, next)
        }
    }
    assert_eq!(SMALL.iter().map(|slot| slot.load(Relaxed)).sum::<usize>(), EACH);
    let sum = |at: usize| large.iter().map(|slot| slot[at].load(Relaxed)).sum::<usize>();
    assert_eq!([sum(19_999), sum(0), sum(1)], [EACH, EACH, 0]);
}

/// Copies of every short length and some long ones, from and to places of every alignment, with
/// what is around them left alone.
#[test]
fn copies() {
    let from: Vec<u8> = (0..600).map(|number| number as u8).collect();
    for length in (0..40).chain([255, 256, 257, 500]) {
        for (start, end) in [(0, 0), (1, 1), (3, 0), (0, 5), (8, 4), (9, 16)] {
            let mut to = vec![0xee_u8; 600];
            let done = AtomicUsize::new(0);
            let (source, target) = (from[start..].as_ptr(), to[end..].as_mut_ptr());
            // SAFETY: both are so long, and apart.
            unsafe {
                rseq! {
                    critical |_cpu| { copy(source, target, length); }
                    commit store(&done, length)
                }
            }
            assert_eq!(done.into_inner(), length);
            assert_eq!(to[end..end + length], from[start..start + length]);
            assert!(to[..end].iter().chain(&to[end + length..]).all(|byte| *byte == 0xee), "{length} bytes");
        }
    }
}
