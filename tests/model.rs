//! Sections in the model: every schedule with a few events.

#[path = "model"]
mod whole {
    pub use rseq_explore::model as section;

    #[path = "sections.rs"]
    pub mod sections;
}

use rseq_explore::model::Bounds;

#[test]
fn sections_are_exact() {
    for (name, model) in whole::sections::models() {
        let start = std::time::Instant::now();
        println!("{name}: {} {:?}", model.explore(Bounds::events(2)), start.elapsed());
    }
}
