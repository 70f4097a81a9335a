use rseq::rseq;

fn main() {
    let mut hits = 0_u128;
    // SAFETY: never runs.
    unsafe {
        rseq! {
            commit |_cpu| store(&raw mut hits, 1)
        }
    }
}
