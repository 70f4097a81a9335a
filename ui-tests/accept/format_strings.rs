#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

/// Its `old` is its own: a format string of the caller's doesn't mean it.
macro_rules! raise {
    ($place:expr, $result:expr) => {
        rseq! {
            critical |_cpu| {
                let old = load($place);
                let new = old + 100;
            }
            commit store($place, new)
            => ($result, format!("{old}"))
        }
    };
}

pub(crate) fn main() {
    let a = AtomicU64::new(10);
    let (old, new, width) = ("outside", "outside", 9);

    // The result means the value of the window, in whatever way a format string names it.
    let text = rseq! {
        critical |_cpu| {
            let old = load(&a);
            let new = old + 1;
            let width: usize = 2 + 2;
        }
        commit store(&a, new)
        => format!("{old} {new:>5} {old:width$} {0:.width$} {{old}}", 1.5)
    };
    assert_eq!(text, "10    11   10 1.5000 {old}");

    // So does the value of an exit, which knows what was bound so far.
    let text = rseq! {
        critical |_cpu| {
            let old = load(&a);
            if old > 10 { exit format!("{old} {new}") }
            let new = old + 1;
        }
        commit store(&a, new)
        => String::new()
    };
    assert_eq!(text, "11 outside");

    // Names of arguments and of what the expression binds by itself come first.
    let text = rseq! {
        critical |_cpu| { let old = load(&a); let new = old + 1; }
        commit store(&a, new)
        => { let new = "inside"; format!("{old} {new}", old = old + 5) }
    };
    assert_eq!(text, "16 inside");

    // The index.
    let text = rseq! {
        commit |cpu| add(&HITS[cpu], 1)
        => format!("{cpu}")
    };
    let counted: Vec<String> = (0..HITS.len())
        .filter(|slot| HITS.iter().nth(*slot).unwrap().load(Relaxed) > 0)
        .map(|slot| slot.to_string())
        .collect();
    assert_eq!(counted, [text]);

    // A raw name.
    let text = rseq! {
        critical |_cpu| { let r#type = load(&a); }
        commit store(&a, r#type)
        => format!("{type}")
    };
    assert_eq!(text, "12");

    // Strings that are no format strings, and names that `prepare` binds.
    let length = rseq! {
        prepare |_cpu| { let limit = "{old}".len() as u64; assert!(limit > 0, "{limit} {old}", old = 1); }
        critical { let old = load(&a); let new = old + limit; }
        commit store(&a, new)
        => "{old}".len()
    };
    assert_eq!((length, a.load(Relaxed)), (5, 17));

    assert_eq!(raise!(&a, format!("{old}")), ("outside".to_owned(), "17".to_owned()));
    assert_eq!((old, new, width, a.into_inner()), ("outside", "outside", 9, 117));
}
