//! The operations of a window's steps, on values that are bits: the same as in rseq-core's
//! `expansion/values.rs`.

use rseq::Word;

/// The address of an element.
#[must_use]
pub fn element_address(base: usize, index: usize, bytes: usize) -> usize {
    base.wrapping_add(index.wrapping_mul(bytes))
}

/// The bits of a value, as a number of its type.
fn number<V: Word>(bits: usize) -> i128 {
    let unused = usize::BITS - 8 * size_of::<V>() as u32;
    let at_the_top = bits << unused;
    if V::SIGNED { (at_the_top.cast_signed() >> unused) as i128 } else { (at_the_top >> unused) as i128 }
}

/// `left operation right`, wrapping, zero-extended.
///
/// # Panics
/// If no window computes so.
#[must_use]
pub fn compute<V: Word>(left: usize, operation: &str, right: usize) -> usize {
    let width = 8 * size_of::<V>() as u32;
    let count = right as u32 % width;
    let result = match operation {
        "+" => left.wrapping_add(right),
        "-" => left.wrapping_sub(right),
        "&" => left & right,
        "|" => left | right,
        "^" => left ^ right,
        "<<" => left << count,
        ">>" => (number::<V>(left) >> count) as usize,
        _ => unreachable!("no window computes by {operation}"),
    };
    result & (usize::MAX >> (usize::BITS - width))
}

/// `left comparison right`.
///
/// # Panics
/// If no window compares so.
#[must_use]
pub fn compare<V: Word>(left: usize, comparison: &str, right: usize) -> bool {
    let (left, right) = (number::<V>(left), number::<V>(right));
    match comparison {
        "==" => left == right,
        "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        ">=" => left >= right,
        _ => unreachable!("no window compares by {comparison}"),
    }
}
