use rseq::__private::{Arithmetic, Count, ElementIndex, Elements, Logic, Nullable, Ordered, Pointer};
use rseq::Word;

#[derive(Clone, Copy)]
#[repr(u8)]
enum Switch {
    Off,
    On,
}

// SAFETY: of one byte.
unsafe impl Word for Switch {}
impl Logic for Switch {}
impl Arithmetic for Switch {}
impl Ordered for Switch {}
impl Count for Switch {}
impl ElementIndex for Switch {}
impl Nullable for Switch {
    const NULL: Self = Self::Off;
}
impl Pointer for Switch {
    type Pointee = u64;
}
impl Elements for Switch {
    type Element = u8;
    fn first(&self) -> *mut u8 {
        std::ptr::null_mut()
    }
}

fn main() {
    let _ = rseq::__private::add(Switch::On, Switch::On);
}
