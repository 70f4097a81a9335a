use rseq::rseq;

struct Point {
    x: f32,
    y: f32,
}

fn reset(place: *mut Point) {
    // SAFETY: never runs.
    unsafe {
        rseq! {
            commit |_cpu| store(place, Point { x: 0.0, y: 0.0 })
        }
    }
}

fn main() {
    let mut point = Point { x: 1.0, y: 1.0 };
    reset(&raw mut point);
    drop((point.x, point.y));
}
