use rseq::{PerCpu, rseq};
use std::sync::atomic::AtomicU64;

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    rseq! {
        prepare |cpu: MmCid| {
            println!("{cpu}");
            let slot = &HITS[cpu];
            break;
        }
        commit |cpu| store(slot)
        abort |n| { continue }
        finally {}
        commit add(slot, 1)
    }
}
