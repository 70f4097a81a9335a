use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

#[derive(Debug, PartialEq)]
struct Ticket {
    number: u64,
    of: usize,
}

pub(crate) fn main() {
    // Of what `prepare` bound, moved out of it.
    let ticket = rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let number = slot.load(Relaxed);
            let text = ["a", "b"];
        }
        commit store(slot, number + 1)
        => (Ticket { number, of: text.len() }, text)
    };
    assert_eq!(ticket, (Ticket { number: 0, of: 2 }, ["a", "b"]));
    // Evaluated behind the commit, with nothing armed: formatting and other sections are fine.
    let text = rseq! {
        prepare |cpu| { let slot = &HITS[cpu]; }
        commit store(slot, 5)
        => format!("{} {}", slot.load(Relaxed), rseq! { commit |cpu| store(&HITS[cpu], 5) => 6 })
    };
    assert!(text.ends_with(" 6"));
    assert!(hits() >= 5);
    // Expressions of every shape, and names like those of clauses.
    let abort = 1;
    let commit = |n: i32| n + 1;
    let one = AtomicU64::new(0);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => abort }, 1);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => commit(abort) abort {} }, 2);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => { 3 } abort |_| {} }, 3);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => 'block: { if abort == 1 { break 'block 4 } 5 } }, 4);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => if abort == 1 { 5 } else { 6 } abort {} }, 5);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => loop { break 6 } }, 6);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => match abort { 1 => 7, _ => 8 } }, 7);
    assert_eq!(rseq! { commit |_cpu| store(&one, 1) => |n: i32| n + 7 }(1), 8);
    let _: () = rseq! { commit |_cpu| store(&one, 1) };
}
