use rseq::__private::{Typed, bits, from_bits};
use std::mem::MaybeUninit;

fn main() {
    println!("{}", bits(MaybeUninit::<u64>::uninit()));
    let reference: &u8 = from_bits(Typed::new(), 0);
    println!("{reference}");
}
