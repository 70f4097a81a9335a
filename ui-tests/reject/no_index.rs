use rseq::rseq;
use std::sync::atomic::AtomicU64;

static SHARED: AtomicU64 = AtomicU64::new(0);

fn main() {
    rseq! { commit add(&SHARED, 1) }
    rseq! {
        critical { let old = load(&SHARED); let new = old + 1; }
        commit store(&SHARED, new)
    }
    rseq! {
        prepare { let new = 1; }
        commit store(&SHARED, new)
        abort { }
    }
}
