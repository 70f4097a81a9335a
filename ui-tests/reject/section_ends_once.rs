use rseq::CpuId;
use rseq::__private::{Outcome, Section};

fn main() {
    let prepared = Section::<CpuId>::enter().prepared();
    prepared.aborted(true, (), |(), _| Outcome::committed([]));
    prepared.aborted(true, (), |(), _| Outcome::committed([]));
}
