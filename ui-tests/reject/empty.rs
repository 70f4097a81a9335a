use rseq::rseq;

fn main() {
    rseq! {}
}
