use rseq::rseq;
use std::sync::atomic::AtomicU64;

#[allow(unused_macros)]
macro_rules! length {
    ($($arguments:tt)*) => { format!($($arguments)*).len() as u64 };
}

fn main() {
    let (place, old, width) = (AtomicU64::new(1), 2, 3);
    rseq! {
        critical |_cpu| {
            let old = load(&place);
            let width: usize = 1 + 1;
            let new = old + length!("{old:?}");
            if new == length!("{:>width$}", 1) { exit () }
        }
        commit store({ assert!(true, "{old}"); &place }, new)
    }
    println!("{old} {width}");
}
