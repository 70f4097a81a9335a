use rseq::rseq;
use std::sync::atomic::{AtomicU64, AtomicUsize};

static AT: AtomicUsize = AtomicUsize::new(0);

fn main() {
    let words = [AtomicU64::new(0)];
    // SAFETY: there is one element.
    unsafe {
        rseq! {
            critical |_cpu| { let at = load(&AT); }
            commit store(&words[at], { drop(words); 1 })
        }
    }
}
