use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let _ = rseq! {
        critical |cpu| {
            let hits = load(&HITS[cpu]);
            if hits == 0 { exit 0 }
            if hits == 1 { exit 1 }
            if hits == 2 { exit 2 }
            if hits == 3 { exit 3 }
            if hits == 4 { exit 4 }
            if hits == 5 { exit 5 }
            if hits == 6 { exit 6 }
            if hits == 7 { exit 7 }
            if hits == 8 { exit 8 }
            if hits == 9 { exit 9 }
            if hits == 10 { exit 10 }
            if hits == 11 { exit 11 }
            if hits == 12 { exit 12 }
            if hits == 13 { exit 13 }
            if hits == 14 { exit 14 }
            if hits == 15 { exit 15 }
            if hits == 16 { exit 16 }
            if hits == 17 { exit 17 }
            if hits == 18 { exit 18 }
            if hits == 19 { exit 19 }
            if hits == 20 { exit 20 }
            if hits == 21 { exit 21 }
            if hits == 22 { exit 22 }
            if hits == 23 { exit 23 }
            if hits == 24 { exit 24 }
            if hits == 25 { exit 25 }
            if hits == 26 { exit 26 }
            if hits == 27 { exit 27 }
            if hits == 28 { exit 28 }
            if hits == 29 { exit 29 }
            if hits == 30 { exit 30 }
        }
        commit add(&HITS[cpu], 1)
        => 31
    };
}
