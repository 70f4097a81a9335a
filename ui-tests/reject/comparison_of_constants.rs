use rseq::rseq;
use std::sync::atomic::AtomicU64;

fn main() {
    let place = AtomicU64::new(0);
    rseq! {
        critical |_cpu| {
            let old = load(&place);
            if 1 == 2 { exit () }
            if null != (null) { exit () }
            if old == -1 + 1 { exit () }
        }
        commit store(&place, 1)
    }
}
