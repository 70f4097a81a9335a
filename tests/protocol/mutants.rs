//! The mutants of the protocol as machine code: the explorer finds what is wrong with each.
//! docs/soundness.md says which section shows which mutation, and who else catches it; this test
//! holds the table to it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

use rseq::PerCpu;
use rseq_explore::{Explorer, Ran, Report};
use support::explored::is_counted;

/// The exploration of one section, which counts in its CPU's slot.
type Kind = fn() -> Report;

/// Counters of threads, and pointers to them: what is behind a pointer is a thread's own.
static OWN: [(AtomicU64, AtomicPtr<AtomicU64>); 4] =
    [const { (AtomicU64::new(0), AtomicPtr::new(std::ptr::null_mut())) }; 4];

/// The calling thread's.
fn own_pointer() -> &'static AtomicPtr<AtomicU64> {
    thread_local! { static NUMBER: Cell<usize> = const { Cell::new(OWN.len()) } }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if NUMBER.get() == OWN.len() {
        NUMBER.set(NEXT.fetch_add(1, Relaxed));
    }
    let (counter, pointer) = &OWN[NUMBER.get()];
    pointer.store(std::ptr::from_ref(counter).cast_mut(), Relaxed);
    pointer
}

/// The modules of the sections, one for each mutation, and all kinds of each. (In parentheses a
/// `$`, for the macros inside.)
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

        /// Takes as many registers as there are. The values come from memory in each attempt, so
        /// the compiler keeps them where it keeps what isn't needed for long.
        #[inline(never)]
        fn crowded(values: [u64; 8]) {
            section! {
                prepare |cpu| {
                    let slot = &HITS[cpu];
                    let [a, b, c, d, e, f, g, h] = black_box(values);
                }
                critical {
                    let count = load(slot);
                    let sum = count + a;
                    let sum = sum + b;
                    let sum = sum + c;
                    let sum = sum + d;
                    let sum = sum + e;
                    let sum = sum + f;
                    let sum = sum + g;
                    let sum = sum + h;
                }
                commit store(slot, sum)
            }
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
                let count = || behind(own_pointer());
                let counted = |ran: &Ran<'_, (), ()>| {
                    let sum: u64 = OWN.iter().map(|(counter, _)| counter.load(Relaxed)).sum();
                    assert_eq!(sum, ran.total() as u64);
                };
                explore("behind a pointer", &count, &count, &counted)
            }),
            ("crowded", || {
                let crowded = || crowded([1, 2, 3, 4, 5, 6, 7, 27_u64.wrapping_neg()]);
                counts("crowded", &crowded, prepared)
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

mutants! { ($)
    no_check no_arm no_publish no_disarm no_early_disarm start_late start_at_commit post_early post_late
    index_before_arm arm_again check_late publish_late disarm_early scratch_late commit_twice
    start_inside wrong_signature publish_in_two clobbered_retry missing_clobber
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
    support::alone!("nothing_is_wrong_with_the_sections_as_they_are");
    for (_, kind) in whole::KINDS {
        let report = kind();
        println!("{report}");
        assert!(report.failures().is_empty(), "{report:#}");
    }
}

/// A row of docs/soundness.md's table, about a mutation.
struct Row<'t> {
    mutation: &'t str,
    wrong: &'t str,
    /// The kind of section that shows it to the explorer.
    explorer: &'t str,
    /// The section that shows it in the model, if the model has it, and after how many events.
    model: &'t str,
    /// The stress test that shows it, if there is one.
    stress: &'t str,
}

/// The explorer sees the mutation in optimised code alone: elsewhere the compiler keeps nothing in
/// registers.
const RELEASE: &str = " (release)";

fn rows(text: &str) -> Vec<Row<'_>> {
    let lines = text.lines().skip_while(|line| !line.starts_with("| mutation | what is wrong |")).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [mutation, wrong, explorer, model, stress] = cells[..] else { panic!("five cells: {line}") };
        let [mutation, stress] = [mutation, stress].map(|cell| cell.trim_matches('`'));
        Row { mutation, wrong, explorer, model, stress }
    });
    rows.collect()
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

#[test]
fn each_mutation_has_a_row() {
    let (of_steps, of_instructions) = rseq::__private::mutations!();
    let text = read("docs/soundness.md");
    let rows = rows(&text);
    let listed: Vec<_> = rows.iter().map(|row| (row.mutation, row.wrong)).collect();
    assert_eq!(listed, [&of_steps[..], &of_instructions[..]].concat());
    assert!(MUTANTS.iter().map(|(name, _)| *name).eq(rows.iter().map(|row| row.mutation)), "each is explored");
    let caught = read("tests/protocol/goldens/caught.tsv");
    let in_model = |mutation: &str| {
        let row = caught.lines().map(|line| line.split('\t').collect::<Vec<_>>()).find(|cells| cells[0] == mutation)?;
        Some(format!("{}, {} events", row[2], row[3]))
    };
    for row in &rows {
        assert_eq!(row.model, in_model(row.mutation).unwrap_or_else(|| "-".into()), "{}", row.mutation);
        if let Some((file, test)) = row.stress.split_once("::") {
            assert!(read(&format!("tests/protocol/{file}.rs")).contains(test), "there is no test {}", row.stress);
        }
    }
}

#[test]
fn the_explorer_finds_each() {
    support::alone!("the_explorer_finds_each");
    let text = read("docs/soundness.md");
    for Row { mutation, explorer, .. } in rows(&text) {
        if cfg!(debug_assertions) && explorer.ends_with(RELEASE) {
            println!("skipped: {mutation}, which optimised code alone shows");
            continue;
        }
        let kinds = MUTANTS.iter().find(|(name, _)| *name == mutation).expect("each is explored").1;
        let kind = explorer.trim_end_matches(RELEASE);
        let explore = kinds.iter().find(|(name, _)| *name == kind).unwrap_or_else(|| panic!("a kind: {kind}")).1;
        let report = explore();
        if let Some(why) = report.skipped() {
            println!("skipped: {why}");
            return;
        }
        let failure = report.failures().first().unwrap_or_else(|| panic!("{mutation} isn't found: {report:#}"));
        println!("{mutation}: {failure}");
    }
}
