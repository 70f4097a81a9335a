//! The numbers of rseq-abi where Rust's constants don't get to.

use rseq_abi::note::window;
use rseq_abi::{area, descriptor, note, section};

const SCRIPT: &str = include_str!("../../rseq-core/gdb/rseq.py");

#[test]
fn of_the_script_for_gdb() {
    let text = |text: &str| format!("{text:?}");
    let expected = [
        ("AREA_CPU_ID", area::CPU_ID.to_string()),
        ("AREA_RSEQ_CS", area::RSEQ_CS.to_string()),
        ("AREA_MM_CID", area::MM_CID.to_string()),
        ("DESCRIPTOR_LENGTH", descriptor::LENGTH.to_string()),
        ("SECTION_DESCRIPTORS", text(section::DESCRIPTORS)),
        ("SECTION_EXITS", text(section::EXITS)),
        ("SECTION_NOTES", text(section::NOTES)),
        ("NOTE_NAME", text(note::NAME)),
        ("NOTE_HEADER", note::HEADER.to_string()),
        ("NOTE_WINDOW", note::WINDOW.to_string()),
        ("NOTE_IMAGE", note::IMAGE.to_string()),
        ("NOTE_LEFT", note::LEFT.to_string()),
        ("NOTE_ABORTED", note::ABORTED.to_string()),
        ("WINDOW_DESCRIPTOR", window::DESCRIPTOR.to_string()),
        ("WINDOW_CHECKED", window::CHECKED.to_string()),
        ("WINDOW_LINE", window::LINE.to_string()),
        ("WINDOW_COLUMN", window::COLUMN.to_string()),
        ("WINDOW_TEXTS", window::TEXTS.to_string()),
    ];
    let (_, class) = SCRIPT.split_once("class RseqAbi:\n").expect("the script has them in one class");
    let lines = class.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
    let found = lines.filter_map(|line| line.trim().split_once(" = "));
    assert!(found.eq(expected.iter().map(|(name, value)| (*name, value.as_str()))), "{class:.1000}");
}
