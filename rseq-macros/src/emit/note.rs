//! The ELF note of a window, for debuggers and other tools (`docs/tool-authors.md`
//! has the format).
//!
//! It is allocated, so that neither `strip` nor a core file loses it; but a process that nobody
//! looks at never reads it. Its addresses are relative to themselves, so there is nothing to
//! relocate when a program is loaded.

use rseq_abi::{note, section};

use super::code::{Argument, CHECKED, Code, DESCRIPTOR, NOTE, NOTE_END, direct};
use crate::ir::{Location, Program};

/// The longest text of an operation, in characters.
const LONGEST: usize = 100;

/// The note of a window.
pub fn of_window(code: &mut Code, program: &Program) {
    let Location { file, line, column } = &program.location;
    let index = if program.mm_cid { "mm_cid" } else { "cpu_id" };
    let kind = format!("{} {index}", program.begins_with.word());
    let mut operation = program.operation.clone();
    if let Some((end, _)) = operation.char_indices().nth(LONGEST) {
        operation.replace_range(end.., "..");
    }
    let length = Argument::of("{} - {}", NOTE_END.ahead(), NOTE.ahead());
    direct! { code;
        ".pushsection {}, \"a\", %note", section::NOTES;
        ".balign {}", note::ALIGNMENT;
        ".long {}, {}, {}", note::NAME_LENGTH, length, note::WINDOW; // length of the name, of what follows it, and its type
        ".asciz \"{}\"", note::NAME;
        ".balign {}", note::ALIGNMENT;
        "{}: .long {} - .", NOTE, DESCRIPTOR.back(); // descriptor
        ".long {} - .", CHECKED.ahead(); // the first instruction behind the checks
        ".long {}, {}", *line as i64, *column as i64; // where the section stands, and in which file
    }
    code.text_of(string(file));
    code.text_of(string(&kind)); // what it begins with, and its index
    code.text_of(string(&operation)); // its commit
    direct!(code; ".balign {}", note::ALIGNMENT);
    code.label(NOTE_END);
    direct!(code; ".popsection");
}

/// A string that ends with a byte 0. What could mean something to an assembler, or to `asm!`, is
/// written by number.
fn string(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-+*/&|^()[]<>=,:".contains(&byte);
    let byte = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("\\{byte:03o}") };
    format!(".asciz \"{}\"", text.bytes().map(byte).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_letters_or_numbers() {
        assert_eq!(string("a/b_c.rs"), ".asciz \"a/b_c.rs\"");
        assert_eq!(string("\"{é}\\"), ".asciz \"\\042\\173\\303\\251\\175\\134\"");
    }
}
