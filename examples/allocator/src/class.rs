//! Classes of sizes: four for each doubling.

use core::alloc::Layout;

/// The alignment of all objects of classes; also the distance of the smallest sizes.
pub const ALIGN: usize = 16;
/// The size of each class's objects.
pub const SIZES: [usize; 20] =
    [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024];

const LARGEST: usize = SIZES[SIZES.len() - 1];

/// The class of the sizes from `step * ALIGN + 1` on to the next step.
const CLASSES: [u8; LARGEST / ALIGN] = {
    let mut classes = [0; _];
    let (mut step, mut class) = (0, 0);
    while step * ALIGN < LARGEST {
        if step * ALIGN == SIZES[class] {
            class += 1;
        }
        classes[step] = class as u8;
        step += 1;
    }
    classes
};

/// The number of the class whose objects have room for this layout, if there is one. There is none
/// for nothing.
#[inline]
pub fn of(layout: Layout) -> Option<usize> {
    if layout.align() > ALIGN {
        return None;
    }
    let step = layout.size().wrapping_sub(1) / ALIGN;
    CLASSES.get(step).map(|class| usize::from(*class))
}
