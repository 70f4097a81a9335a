//! Items that expansions use: those of `rseq`, with the model's sections and windows in the place
//! of the machine's. The files are named as those of rseq-core's `expansion/`, where a window is
//! asm.

pub use rseq::__private::*;

pub use self::section::area_for_windows as area_for_attempts;
pub use self::section::{Prepared, Section, area_for_windows, passes, window_aborted, window_repeated};
pub use self::values::{compare, compute, element_address};
pub use self::window::ModelWindow;
pub use super::code::{Code, CodeStep};

mod section;
mod values;
mod window;
