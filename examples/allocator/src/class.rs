//! Classes of sizes: four for each doubling.

use core::alloc::Layout;

/// What all objects of classes are aligned to; also the distance of the smallest sizes.
pub const ALIGN: usize = 16;
/// The size of each class's objects.
pub const SIZES: [usize; 20] =
    [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024];

const LARGEST: usize = SIZES[SIZES.len() - 1];

/// The class of each number of units of [`ALIGN`] bytes.
const CLASSES: [u8; LARGEST / ALIGN + 1] = {
    let mut classes = [0; _];
    let (mut units, mut class) = (0, 0);
    while units * ALIGN <= LARGEST {
        if units * ALIGN > SIZES[class] {
            class += 1;
        }
        classes[units] = class as u8;
        units += 1;
    }
    classes
};

/// The number of the class whose objects have room for this layout, if there is one.
#[inline]
pub fn of(layout: Layout) -> Option<usize> {
    if layout.align() > ALIGN {
        return None;
    }
    CLASSES.get(layout.size().div_ceil(ALIGN)).map(|class| usize::from(*class))
}

#[cfg(test)]
mod tests {
    use core::alloc::Layout;

    use super::{ALIGN, LARGEST, SIZES, of};

    #[test]
    fn each_layout_has_the_smallest_class_that_it_fits() {
        for size in (0..2 * LARGEST).step_by(if cfg!(miri) { 97 } else { 1 }) {
            for align in [1, 8, ALIGN, 2 * ALIGN] {
                let layout = Layout::from_size_align(size, align).expect("a small layout");
                let smallest = SIZES.iter().position(|room| *room >= size);
                assert_eq!(of(layout), smallest.filter(|_| align <= ALIGN), "{layout:?}");
            }
        }
    }

    #[test]
    fn classes_waste_no_more_than_a_fifth() {
        for (smaller, larger) in SIZES.iter().zip(&SIZES[1..]).filter(|(smaller, _)| **smaller >= 64) {
            assert!(larger - smaller <= larger / 5, "{smaller} {larger}");
        }
        assert!(SIZES.iter().all(|size| size.is_multiple_of(ALIGN)));
    }
}
