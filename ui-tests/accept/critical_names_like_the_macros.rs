#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

/// Names that the expansion uses for something of its own, as the user's: outside, in the window, in every expression.
#[allow(non_camel_case_types)]
fn generic<T0, P0, T1>(type_0: T0, element_0: P0, offset_0: T1) -> (T0, P0, T1) {
    let (window, outcome, portable, index, section) = (1_u64, 2_u64, 4_u64, 8_u64, 16_u64);
    let (outside_0, outside_1, value_0, value_1, again) = (32_u64, 64_u64, 128_u64, 256_u64, 512_u64);
    let (target, new, opened, whole, array, length, from, to, bytes, s0, r0, aborts) =
        (1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64);
    let place = AtomicU64::new(0);
    let all = 'retry: {
        rseq! {
            critical |value| {
                let hits = load(&HITS[value]);
                let x = load(if window == 1 { &place } else { break 'retry 0 });
                let x = x + (window + outcome + portable + index + section + outside_0 + outside_1);
                let x = x + (value_0 + value_1 + again);
                if x == 0 { exit window + outcome + portable + index + section }
                let x = x + (target + new + opened + whole + array + length + from + to + bytes + s0 + r0 + aborts);
                if hits != 0 { exit again + outside_1 + value_1 }
            }
            commit store(&place, x)
            => window + outcome + portable + index + section + outside_0 + outside_1 + value_0 + value_1 + again
            abort |count| { if u64::from(count) == u64::MAX - again { break 'retry again } }
        }
    };
    assert_eq!((all, place.into_inner()), (1_023, 1_035));
    (type_0, element_0, offset_0)
}

/// The values of the window themselves by those names.
fn in_the_window() {
    let place = AtomicU64::new(1);
    let result = 'attempt: loop {
        rseq! {
            critical |section| {
                let hits = load(&HITS[section]);
                let outcome = load(&place);
                let portable = outcome + 1;
                let window = portable + 1;
                let index = window + 1;
                let type_0 = index + 1;
                let value_0 = type_0 + hits;
                if value_0 == 0 { exit continue 'attempt }
                let again = value_0 + 1;
                let outside_0 = again + 1;
            }
            commit store(&place, outside_0)
            => break 'attempt (outcome, portable, window, index, type_0, value_0, again, outside_0, section.get() < rseq::slots())
            abort |outcome| { if outcome > 1_000_000 { continue 'attempt } }
        }
    };
    assert_eq!(result, (1, 2, 3, 4, 5, 5, 6, 7, true));
}

fn main() {
    assert_eq!(generic('a', "b", 1.0), ('a', "b", 1.0));
    in_the_window();
}
