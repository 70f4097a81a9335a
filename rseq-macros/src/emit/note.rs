//! The ELF note of a window, for debuggers and other tools (`docs/tool-authors.md`
//! has the format).
//!
//! It is allocated, so that neither `strip` nor a core file loses it; but a process that nobody
//! looks at never reads it. Its addresses are relative to themselves, so there is nothing to
//! relocate when a program is loaded.

use crate::ir::{Location, Program};

/// The longest text of an operation, in characters.
const LONGEST: usize = 100;

/// The note of a window. Labels: those of `asm.rs`, in front of whose window it stands; 27 and 28
/// where what it says begins and ends.
pub fn of_window(program: &Program) -> Vec<String> {
    let Location { file, line, column } = &program.location;
    let index = if program.mm_cid { "mm_cid" } else { "cpu_id" };
    let kind = format!("{} {index}", program.begins_with.word());
    let mut operation = program.operation.clone();
    if let Some((end, _)) = operation.char_indices().nth(LONGEST) {
        operation.replace_range(end.., "..");
    }
    vec![
        ".pushsection .note.rseq, \"a\", %note".into(),
        ".balign 4".into(),
        ".long 5, 28f - 27f, 1".into(), // length of the name, of what follows it, and its type: a window
        ".asciz \"rseq\"".into(),
        ".balign 4".into(),
        "27: .long 22b - .".into(),        // descriptor
        ".long 26f - .".into(),            // the first instruction behind the checks
        format!(".long {line}, {column}"), // where the section stands, and in which file
        string(file),
        string(&kind),      // what it begins with, and its index
        string(&operation), // its commit
        ".balign 4".into(),
        "28:".into(),
        ".popsection".into(),
    ]
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
