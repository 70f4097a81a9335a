#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

/// Names that the expansion uses for something of its own, as the user's: outside, in the window,
/// in every expression.
#[allow(non_camel_case_types)]
fn generic<T0, P0, T1>(__rseq_type_0: T0, __rseq_element_0: P0, __rseq_offset_0: T1) -> (T0, P0, T1) {
    let (__rseq_window, __rseq_outcome, __rseq_portable, __rseq_index, __rseq_section) =
        (1_u64, 2_u64, 4_u64, 8_u64, 16_u64);
    let (__rseq_outside_0, __rseq_outside_1, __rseq_value_0, __rseq_value_1, again) =
        (32_u64, 64_u64, 128_u64, 256_u64, 512_u64);
    let (__rseq_target, __rseq_new, __rseq_opened, __rseq_whole, __rseq_array, __rseq_length) =
        (1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64);
    let (__rseq_from, __rseq_to, __rseq_bytes, __rseq_s0, __rseq_r0, __rseq_aborts) =
        (1_u64, 1_u64, 1_u64, 1_u64, 1_u64, 1_u64);
    let place = AtomicU64::new(0);
    let all = 'retry: {
        rseq! {
            critical |value| {
                let hits = load(&HITS[value]);
                let x = load(if __rseq_window == 1 { &place } else { break 'retry 0 });
                let x = x + (__rseq_window + __rseq_outcome + __rseq_portable + __rseq_index
                    + __rseq_section + __rseq_outside_0 + __rseq_outside_1);
                let x = x + (__rseq_value_0 + __rseq_value_1 + again);
                if x == 0 { exit __rseq_window + __rseq_outcome + __rseq_portable + __rseq_index + __rseq_section }
                let x = x + (__rseq_target + __rseq_new + __rseq_opened + __rseq_whole + __rseq_array
                    + __rseq_length + __rseq_from + __rseq_to + __rseq_bytes + __rseq_s0 + __rseq_r0 + __rseq_aborts);
                if hits != 0 { exit again + __rseq_outside_1 + __rseq_value_1 }
            }
            commit store(&place, x)
            => __rseq_window + __rseq_outcome + __rseq_portable + __rseq_index + __rseq_section
                + __rseq_outside_0 + __rseq_outside_1 + __rseq_value_0 + __rseq_value_1 + again
            abort |count| { if u64::from(count) == u64::MAX - again { break 'retry again } }
        }
    };
    assert_eq!((all, place.into_inner()), (1_023, 1_035));
    (__rseq_type_0, __rseq_element_0, __rseq_offset_0)
}

/// The values of the __rseq_window themselves by those names.
fn in_the_window() {
    let place = AtomicU64::new(1);
    let result = 'attempt: loop {
        rseq! {
            critical |__rseq_section| {
                let hits = load(&HITS[__rseq_section]);
                let __rseq_outcome = load(&place);
                let __rseq_portable = __rseq_outcome + 1;
                let __rseq_window = __rseq_portable + 1;
                let __rseq_index = __rseq_window + 1;
                let __rseq_type_0 = __rseq_index + 1;
                let __rseq_value_0 = __rseq_type_0 + hits;
                if __rseq_value_0 == 0 { exit continue 'attempt }
                let again = __rseq_value_0 + 1;
                let __rseq_outside_0 = again + 1;
            }
            commit store(&place, __rseq_outside_0)
            => break 'attempt (__rseq_outcome, __rseq_portable, __rseq_window, __rseq_index,
                __rseq_type_0, __rseq_value_0, again, __rseq_outside_0, __rseq_section.get() < rseq::slots())
            abort |__rseq_outcome| { if __rseq_outcome > 1_000_000 { continue 'attempt } }
        }
    };
    assert_eq!(result, (1, 2, 3, 4, 5, 5, 6, 7, true));
}

pub(crate) fn main() {
    assert_eq!(generic('a', "b", 1.0), ('a', "b", 1.0));
    in_the_window();
}
