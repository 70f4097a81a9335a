//! What a report says. It takes no memory, because a section may be found in the middle of an
//! allocation.

use core::fmt::{self, Display, Formatter, Write};

use super::places::Commit;
use super::{Finding, Location, linux};
use crate::owner::Owner;

/// Writes it to the standard error, in one piece.
pub(super) fn write(section: &Location, finding: Finding<'_>) {
    let mut text = Text { bytes: [0; 1024], length: 0 };
    let _what_doesnt_fit_is_left_out = writeln!(text, "rseq audit: {section}: {finding}");
    linux::write_error(&text.bytes[..text.length]);
}

struct Text {
    bytes: [u8; 1024],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.length..];
        let length = text.len().min(room.len());
        room[..length].copy_from_slice(&text.as_bytes()[..length]);
        self.length += length;
        if length == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl Display for Finding<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(number) => {
                write!(f, "`prepare` made system call {number}")?;
                if let Some(name) = linux::name(*number) {
                    write!(f, " ({name})")?;
                }
                f.write_str(
                    "; a section that is scheduled inside of a call loses updates on Linux 6.19 and later: make the call before the section",
                )
            }
            Self::Slept(attempts) => write!(
                f,
                "`prepare` waited in a system call, in {attempts} attempts in a row; the section loses updates on Linux 6.19 and later \
                 and never ends on earlier ones: make the call before the section"
            ),
            Self::Nested(inner) => write!(
                f,
                "`prepare` ran another section, {inner}; the outer one aborts each time: run the inner one before it"
            ),
            Self::Abandoned => f.write_str(
                "it never ended: `prepare` was left by `longjmp` or the like, which runs no destructors; leave it by `return`, `break` or a panic",
            ),
            Self::Suspended => f.write_str(
                "`prepare` was left by a switch of stacks, and something else went on in the thread while the section was open: \
                 don't suspend a green thread in `prepare`",
            ),
            Self::Borrowed => f.write_str(
                "it runs in a child that shares its parent's memory (`vfork`, `clone` with CLONE_VM): the kernel doesn't tell the child of its interruptions, and \
                 the section loses updates; run none there before `exec`",
            ),
            Self::Moved => f.write_str(
                "it began on one thread and goes on on another: don't suspend a green thread in `prepare`",
            ),
            Self::Foreign([own, other]) => foreign(*own, *other, f),
            Self::Shared([commit, other]) => shared(commit, other, f),
            Self::Livelock(aborts) => write!(
                f,
                "it aborted {aborts} times in a row; `prepare` either does each time what aborts it (another section, a fence, the first use of slots, \
                 an exception with a handler) or takes longer than the thread may run in one go"
            ),
        }
    }
}

fn foreign(own: Owner, other: Owner, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "it stored to a slot of {other}, but ran by {own}; nothing keeps others out there, so updates get lost: \
         select the slot by the section's own index, as in `&SLOTS[cpu]`"
    )
}

fn shared(commit: &Commit, other: &Commit, f: &mut Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "it committed to {:#x} by {} while another thread did so by {}, in {}; nothing keeps them apart, so updates get lost: \
         give each index a place of its own, as in `&SLOTS[cpu]`",
        commit.place, commit.owner, other.owner, other.section
    )
}
