use rseq::rseq;

fn main() {
    let hits = 0_u64;
    // SAFETY: never runs.
    unsafe {
        rseq! {
            commit |_cpu| store(&raw const hits, 1)
        }
    }
}
