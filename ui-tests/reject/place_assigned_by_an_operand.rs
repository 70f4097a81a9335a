use rseq::rseq;
use std::sync::atomic::AtomicU64;

static SINK: AtomicU64 = AtomicU64::new(0);

fn main() {
    let mut boxed = Box::new(AtomicU64::new(0));
    rseq! {
        prepare |_cpu| {}
        critical {
            let found = load(&*boxed);
            if found == { boxed = Box::new(AtomicU64::new(1)); 3 } { exit () }
        }
        commit store(&SINK, found)
    }
}
