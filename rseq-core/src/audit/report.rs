//! Findings about sections, and their report. That takes no memory, because a section may be found
//! in the middle of an allocation.

use core::fmt::{self, Display, Formatter, Write};

use super::location::{Kind, Location};
use super::places::Commit;
use super::{linux, settings};
use crate::arch;
use crate::owner::Owner;

/// A finding about a section.
#[derive(Clone, Copy, Debug)]
pub(super) enum Finding<'f> {
    /// `prepare` makes the system call of this number.
    Call(usize),
    /// `prepare` runs this section.
    Nested(&'static Location),
    /// `prepare` slept in the kernel, in so many attempts in a row.
    Slept(u32),
    /// Its frame is gone, but it never ended.
    Abandoned,
    /// The thread went on on another stack.
    Suspended,
    /// It began on another thread.
    Moved,
    /// It aborted so often in a row.
    Livelock(u32),
    /// A section of the first index stored to a slot of the second.
    Foreign(&'f [Owner; 2]),
    /// Its commit, which is the first, and that of another thread were to one place at once.
    Shared(&'f [Commit; 2]),
    /// It runs in a child that shares its parent's memory, and goes by the parent's area.
    Borrowed,
}

impl Finding<'_> {
    fn kind(self) -> Kind {
        match self {
            Self::Call(_) | Self::Slept(_) => Kind::Call,
            Self::Nested(_) => Kind::Nested,
            Self::Abandoned | Self::Suspended | Self::Moved => Kind::Left,
            Self::Livelock(_) => Kind::Livelock,
            Self::Foreign(..) | Self::Shared(..) => Kind::Place,
            Self::Borrowed => Kind::Borrowed,
        }
    }
}

/// Says what was found, once for each section and kind. Returns only if it was said before, or if
/// the program is to go on.
#[cold]
pub(super) fn report(section: &Location, finding: Finding<'_>) {
    // The system calls of the report aren't the section's.
    disarm();
    if section.is_new(finding.kind()) {
        write(section, finding);
        if !settings::goes_on() {
            linux::abort();
        }
    }
}

/// Takes the thread's descriptor out of force.
pub(super) fn disarm() {
    // SAFETY: the calling thread's area.
    unsafe { arch::disarm(arch::locate().area) };
}

/// Writes it to the standard error, in one piece.
fn write(section: &Location, finding: Finding<'_>) {
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
