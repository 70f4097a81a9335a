//! The mutants of the protocol as machine code: the explorer finds what is wrong with each. docs/soundness.md says which section shows which mutation, and who else catches
//! it; this test holds the table to it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

use rseq::PerCpu;
use rseq_explore::{Explorer, Ran, Report};

/// What one section needs to be explored: it counts in its CPU's slot.
type Kind = fn() -> Report;

/// The modules of the sections, one for each mutation, and all kinds of each. (In parentheses a `$`, for the macros inside.)
macro_rules! mutants {
    (($d:tt) $($mutation:ident)*) => {
        $(
            mod $mutation {
                macro_rules! section {
                    ($d($d tokens:tt)*) => { ::rseq::__mutant! { [$mutation] $d($d tokens)* } };
                }
                sections! {}
            }
        )*

        const MUTANTS: &[(&str, &[(&str, Kind)])] = &[$((stringify!($mutation), $mutation::KINDS)),*];
    };
}

/// Sections of every kind, each of which counts one in its slot.
macro_rules! sections {
    () => {
        use super::*;

        static HITS: PerCpu<AtomicU64> = PerCpu::new();

        fn prepared() {
            section! {
                prepare |cpu| { let slot = &HITS[cpu]; let count = slot.load(Relaxed); }
                commit store(slot, count + 1)
            }
        }

        fn window() {
            section! {
                critical |cpu| {
                    let count = load(&HITS[cpu]);
                    let next = count + 1;
                }
                commit store(&HITS[cpu], next)
            }
        }

        fn watched_window() {
            section! {
                prepare |cpu| { let slot = &HITS[cpu]; }
                critical {
                    let count = load(slot);
                    let next = count + 1;
                }
                commit store(slot, next)
            }
        }

        fn leave() {
            section! {
                prepare |cpu| {
                    let slot = &HITS[cpu];
                    if slot.load(Relaxed) < 1000 {
                        return;
                    }
                }
                commit store(slot, 0)
            }
        }

        fn left_early() {
            leave();
            prepared();
        }

        static STACKS: PerCpu<Stack> = PerCpu::new();

        fn push() {
            // SAFETY: the length is compared with the capacity.
            unsafe {
                section! {
                    critical |cpu| {
                        let len = load(&STACKS[cpu].len);
                        if len == 16 { exit () }
                        store(&STACKS[cpu].items[len], 1);
                    }
                    commit add(&STACKS[cpu].len, 1)
                }
            }
        }

        /// Needs the place of the pointer again if it is aborted.
        #[inline(never)]
        fn behind(pointer: &AtomicPtr<AtomicU64>) {
            // SAFETY: it points to a counter.
            unsafe {
                section! {
                    critical |_| {
                        let counter = load(pointer);
                    }
                    commit add(&*counter, 1)
                    abort { black_box(pointer); }
                }
            }
        }

        /// Keeps more values than the compiler has registers for.
        #[inline(never)]
        fn held(seed: u64) -> u64 {
            let values: [u64; 12] = std::array::from_fn(|index| black_box(seed + index as u64));
            let [a, b, c, d, e, f, g, h, i, j, k, l] = values;
            let twice = [a + b, b + c, c + d, d + e, e + f, f + g, g + h, h + i, i + j, j + k, k + l, l + a];
            prepared();
            twice.iter().zip(values).fold(0, |sum, (twice, value)| sum * 3 + twice + value)
        }

        fn explore<R: Send + Sync>(
            name: &str,
            section: &(dyn Fn() -> R + Sync),
            conflict: &(dyn Fn() + Sync),
            check: &(dyn Fn(&Ran<'_, R, ()>) + Sync),
        ) -> Report {
            Explorer::new(section, conflict, check).name(name).until_failure().try_run()
        }

        fn counts<R: Send + Sync>(name: &str, section: &(dyn Fn() -> R + Sync), conflict: fn()) -> Report {
            explore(name, section, &conflict, &|ran| is_counted(HITS.iter().map(|slot| slot.load(Relaxed)), ran))
        }

        pub const KINDS: &[(&str, Kind)] = &[
            ("prepared", || counts("prepared", &prepared, prepared)),
            ("window", || counts("window", &window, window)),
            ("watched window", || counts("watched window", &watched_window, watched_window)),
            ("prepared, another window in a handler", || counts("prepared", &prepared, watched_window)),
            ("left early", || counts("left early", &left_early, prepared)),
            ("push", || {
                let pushed = |ran: &Ran<'_, (), ()>| {
                    is_counted(STACKS.iter().map(|stack| stack.len.load(Relaxed) as u64), ran);
                    STACKS.iter().for_each(Stack::is_filled);
                };
                explore("push", &push, &push, &pushed)
            }),
            ("behind a pointer", || {
                static COUNTER: AtomicU64 = AtomicU64::new(0);
                let pointer = AtomicPtr::new((&raw const COUNTER).cast_mut());
                let counted = |ran: &Ran<'_, (), ()>| assert_eq!(COUNTER.load(Relaxed), ran.total() as u64);
                explore("behind a pointer", &|| behind(&pointer), &|| behind(&pointer), &counted)
            }),
            ("registers held", || {
                let right = |ran: &Ran<'_, u64, ()>| {
                    ran.sections.iter().for_each(|run| assert_eq!(*run.value, super::whole_value(), "the values kept"));
                };
                explore("registers held", &|| held(black_box(7)), &prepared, &right)
            }),
        ];
    };
}

/// A bounded stack.
#[derive(Default)]
struct Stack {
    len: AtomicUsize,
    items: [AtomicU64; 16],
}

impl Stack {
    fn is_filled(&self) {
        let items = &self.items[..self.len.load(Relaxed)];
        assert!(items.iter().all(|item| item.load(Relaxed) == 1), "what counts was stored");
    }
}

/// Each slot counts what ran on its CPU.
fn is_counted<R, Q>(slots: impl Iterator<Item = u64>, ran: &Ran<'_, R, Q>) {
    for (cpu, count) in slots.enumerate() {
        assert_eq!(count, ran.on(cpu) as u64, "CPU {cpu}");
    }
}

/// What `held` returns.
fn whole_value() -> u64 {
    let values: [u64; 12] = std::array::from_fn(|index| 7 + index as u64);
    (0..12).fold(0, |sum, index| sum * 3 + values[index] + values[(index + 1) % 12] + values[index])
}

mutants! { ($)
    no_check no_arm no_publish no_disarm no_early_disarm start_late start_at_commit post_early post_late index_before_arm arm_again check_late publish_late
    disarm_early scratch_late commit_twice start_inside wrong_signature publish_in_two clobbered_retry missing_clobber
}

/// As they are.
mod whole {
    macro_rules! section {
        ($($tokens:tt)*) => { ::rseq::rseq! { $($tokens)* } };
    }
    sections! {}
}

#[test]
fn nothing_is_wrong_with_the_sections_as_they_are() {
    for (_, kind) in whole::KINDS {
        let report = kind();
        println!("{report}");
        assert!(report.failures().is_empty(), "{report:#}");
    }
}

#[test]
fn scan() {
    for (name, kinds) in MUTANTS {
        for (kind, explore) in *kinds {
            let report = explore();
            println!(
                "{name} / {kind}: {} {}",
                report.explored(),
                report.failures().first().map_or("-".into(), |f| f.to_string())
            );
        }
    }
    let _ = Path::new("");
}
