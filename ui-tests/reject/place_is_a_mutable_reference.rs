use rseq::rseq;

fn hit(hits: &mut u64) {
    rseq! {
        commit |_cpu| store(hits, 1)
    }
}

fn main() {
    hit(&mut 0);
}
