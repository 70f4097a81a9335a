use rseq::rseq;

fn main() {
    rseq! {
        commit |cpu| store()
    }
}
