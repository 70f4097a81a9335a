use rseq::rseq;

fn main() {
    let mut hits = 0_u64;
    rseq! {
        commit |_cpu| store(&hits, 1)
    }
    hits += 1;
    drop(hits);
}
