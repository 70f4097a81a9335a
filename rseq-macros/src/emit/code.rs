//! Asm as data: lines, and what stands in them. [`Code::text`] alone makes text of it.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};
use std::ops::Range;

use crate::ids::{ExitId, MachineRegister, PointeeId, TypeId};

/// Lines of asm, in their order.
#[derive(Default)]
pub struct Code {
    lines: Vec<Line>,
    /// The arguments of all lines, one line's behind the other's.
    arguments: Vec<Argument>,
}

struct Line {
    #[cfg_attr(not(feature = "mutants"), expect(dead_code, reason = "mutants alone look for lines by it"))]
    kind: Kind,
    /// The text, with `{}` for each argument.
    template: Cow<'static, str>,
    arguments: Range<usize>,
}

/// The kind of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An instruction, maybe with a label in front.
    Instruction,
    /// A directive to the assembler.
    Directive,
    /// A label alone.
    Label(Local),
}

/// An argument of a line: one thing, or an expression or address of up to two, with its template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Argument {
    One(Atom),
    Of(&'static str, Atom, Option<Atom>),
}

/// One thing in a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Atom {
    /// A mnemonic, or a part of one.
    Word(&'static str),
    Register(Reg),
    Number(i64),
    /// A constant or symbol that the block has by name.
    Constant(Name),
    /// A label that is gone to.
    To(Label),
    /// A label where it stands.
    Here(Local),
}

/// A register of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reg {
    /// One that the compiler chooses, as an operand of the block: all of it, or the part for which
    /// `asm!` has this letter.
    Chosen(Name, Option<char>),
    /// One that the assembler calls so.
    Fixed(&'static str),
}

/// An operand of the block: `asm!` knows it by name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A register of the allocation.
    Value(MachineRegister),
    /// A register that the steps of most machines use for themselves.
    Scratch(usize),
    /// A register of another class, or with something else in it.
    Other(&'static str),
    /// The size of a type.
    Bytes(TypeId),
    /// `true` if a type has a sign.
    Signed(TypeId),
    /// The size of a slot or an element.
    Size(PointeeId),
    /// That of a slot as a power of two.
    Power(PointeeId),
    /// The words that every section loads first.
    Fast,
    /// Where the number of CPUs is in these.
    CpusOffset,
    /// Where to go to start again.
    Aborted,
    /// Where to go to leave by an exit.
    Exit(ExitId),
}

/// A label of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Local(usize);

/// A label, seen from where it is gone to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Back(Local),
    Ahead(Local),
    /// One of Rust's.
    Rust(Name),
}

/// The descriptor.
pub const DESCRIPTOR: Local = Local(22);
/// The first instruction of the window.
pub const START: Local = Local(23);
/// The place behind the commit.
pub const POST_COMMIT: Local = Local(24);
/// The abort handler.
pub const ABORT_HANDLER: Local = Local(25);
/// The place behind the checks at the start.
pub const CHECKED: Local = Local(26);
/// The contents of the note.
pub const NOTE: Local = Local(27);
/// The place behind the note's contents.
pub const NOTE_END: Local = Local(28);
/// The place behind the window's asm.
pub const END: Local = Local(29);

impl Local {
    /// The stub of an exit.
    pub fn exit(exit: ExitId) -> Self {
        Self(30 + exit.0)
    }

    /// A label inside of a machine's step: each is gone to from the step alone that it stands in.
    pub const fn own(number: usize) -> Self {
        Self(60 + number)
    }

    pub fn back(self) -> Label {
        Label::Back(self)
    }

    pub fn ahead(self) -> Label {
        Label::Ahead(self)
    }
}

impl Atom {
    /// `true` if it is a number in this range. What a constant of the block is, isn't known here.
    pub fn fits(self, range: Range<i64>) -> bool {
        matches!(self, Self::Number(number) if range.contains(&number))
    }
}

impl Reg {
    /// The part of it for which `asm!` has this letter.
    pub fn part(self, letter: char) -> Self {
        match self {
            Self::Chosen(name, _) => Self::Chosen(name, Some(letter)),
            Self::Fixed(_) => self,
        }
    }
}

impl Argument {
    /// An address or expression of two things.
    pub fn of(template: &'static str, first: impl Into<Atom>, second: impl Into<Atom>) -> Self {
        Self::Of(template, first.into(), Some(second.into()))
    }

    fn atoms(&self) -> impl Iterator<Item = Atom> {
        let (first, second) = match *self {
            Self::One(atom) => (atom, None),
            Self::Of(_, first, second) => (first, second),
        };
        [Some(first), second].into_iter().flatten()
    }
}

/// Appends instructions to code: each is a template with a `{}` for each of its arguments.
macro_rules! emit {
    ($code:expr; $($template:literal $(, $argument:expr)*);+ $(;)?) => {{
        $($crate::emit::code::push!($code, Instruction, $template $(, $argument)*);)+
    }};
}
pub(crate) use emit;

/// Appends directives to code.
macro_rules! direct {
    ($code:expr; $($template:literal $(, $argument:expr)*);+ $(;)?) => {{
        $($crate::emit::code::push!($code, Directive, $template $(, $argument)*);)+
    }};
}
pub(crate) use direct;

macro_rules! push {
    ($code:expr, $kind:ident, $template:literal $(, $argument:expr)*) => {{
        const ARGUMENTS: usize = <[&str]>::len(&[$(stringify!($argument)),*]);
        const _: () = assert!($crate::emit::code::placeholders($template) == ARGUMENTS);
        $code.push($crate::emit::code::Kind::$kind, $template, [$($crate::emit::code::Argument::from($argument)),*]);
    }};
}
pub(crate) use push;

/// How many arguments a template has.
pub const fn placeholders(template: &str) -> usize {
    let (bytes, mut at, mut count) = (template.as_bytes(), 0, 0);
    while at < bytes.len() {
        count += (bytes[at] == b'{') as usize;
        at += 1;
    }
    count
}

impl Code {
    /// Appends a line. Its template has as many placeholders as there are arguments: see [`emit`].
    pub fn push<const N: usize>(&mut self, kind: Kind, template: &'static str, arguments: [Argument; N]) {
        let first = self.arguments.len();
        self.arguments.extend(arguments);
        self.lines.push(Line { kind, template: template.into(), arguments: first..first + N });
    }

    /// Appends a label.
    pub fn label(&mut self, label: Local) {
        self.push(Kind::Label(label), "{}:", [label.into()]);
    }

    /// Appends a directive as it stands.
    pub fn text_of(&mut self, directive: impl Into<Cow<'static, str>>) {
        self.lines.push(Line { kind: Kind::Directive, template: directive.into(), arguments: 0..0 });
    }

    /// `true` if this operand of the block stands in some line, whole or a part of it.
    pub fn uses(&self, name: Name) -> bool {
        self.names().any(|(used, _)| used == name)
    }

    /// `true` if the part of this letter of the operand stands in some line.
    pub fn uses_part(&self, name: Name, letter: char) -> bool {
        self.names().any(|used| used == (name, Some(letter)))
    }

    fn names(&self) -> impl Iterator<Item = (Name, Option<char>)> {
        self.arguments.iter().flat_map(Argument::atoms).filter_map(|atom| match atom {
            Atom::Register(Reg::Chosen(name, letter)) => Some((name, letter)),
            Atom::Constant(name) | Atom::To(Label::Rust(name)) => Some((name, None)),
            _ => None,
        })
    }

    /// Moves a label one instruction down.
    #[cfg(feature = "mutants")]
    pub fn delay(&mut self, label: Local) {
        let Some(at) = self.lines.iter().position(|line| line.kind == Kind::Label(label)) else { return };
        let next = self.lines[at..].iter().position(|line| line.kind == Kind::Instruction).unwrap_or_default();
        self.lines[at..=at + next].rotate_left(1);
    }

    /// The lines as `asm!` takes them.
    pub fn text(&self) -> Vec<String> {
        let text = |line: &Line| {
            let mut text = String::with_capacity(48);
            fill(&mut text, &line.template, &self.arguments[line.arguments.clone()], Argument::write);
            text
        };
        self.lines.iter().map(text).collect()
    }
}

/// Writes a template with what its placeholders stand for.
fn fill<T>(text: &mut String, template: &str, arguments: &[T], write: impl Fn(&T, &mut String)) {
    let mut rest = template;
    for argument in arguments {
        let Some((before, behind)) = rest.split_once('{') else { break };
        text.push_str(before);
        write(argument, text);
        rest = &behind[1..];
    }
    text.push_str(rest);
}

impl Argument {
    fn write(&self, text: &mut String) {
        match self {
            Self::One(atom) => atom.write(text),
            Self::Of(template, first, None) => fill(text, template, &[*first], Atom::write),
            Self::Of(template, first, Some(second)) => fill(text, template, &[*first, *second], Atom::write),
        }
    }
}

impl Atom {
    fn write(&self, text: &mut String) {
        let written = match *self {
            Self::Word(word) | Self::Register(Reg::Fixed(word)) => {
                text.push_str(word);
                Ok(())
            }
            Self::Register(Reg::Chosen(name, Some(letter))) => write!(text, "{{{name}:{letter}}}"),
            Self::Register(Reg::Chosen(name, None)) | Self::Constant(name) | Self::To(Label::Rust(name)) => {
                write!(text, "{{{name}}}")
            }
            Self::Number(number) => write!(text, "{number}"),
            Self::To(Label::Back(Local(label))) => write!(text, "{label}b"),
            Self::To(Label::Ahead(Local(label))) => write!(text, "{label}f"),
            Self::Here(Local(label)) => write!(text, "{label}"),
        };
        written.expect("text grows");
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(register) => write!(f, "s{register}"),
            Self::Scratch(number) => write!(f, "t{number}"),
            Self::Other(name) => f.write_str(name),
            Self::Bytes(ty) => write!(f, "b{ty}"),
            Self::Signed(ty) => write!(f, "signed{ty}"),
            Self::Size(pointee) => write!(f, "p{pointee}"),
            Self::Power(pointee) => write!(f, "n{pointee}"),
            Self::Fast => f.write_str("fast"),
            Self::CpusOffset => f.write_str("cpus_offset"),
            Self::Aborted => f.write_str("aborted"),
            Self::Exit(exit) => write!(f, "exit{exit}"),
        }
    }
}

macro_rules! atoms {
    ($($kind:ident($from:ty)),*) => {
        $(impl From<$from> for Atom {
            fn from(atom: $from) -> Self {
                Self::$kind(atom.into())
            }
        }
        impl From<$from> for Argument {
            fn from(atom: $from) -> Self {
                Self::One(atom.into())
            }
        })*
    };
}
atoms!(Word(&'static str), Register(Reg), Number(i64), Number(u32), Constant(Name), To(Label), Here(Local));

impl From<Atom> for Argument {
    fn from(atom: Atom) -> Self {
        Self::One(atom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Code {
        let (mut code, word) = (Code::default(), Reg::Chosen(Name::Value(MachineRegister(3)), None));
        code.label(START);
        direct!(code; ".if {} == {}", Name::Bytes(TypeId(1)), 4_u32);
        emit! { code;
            "{}: mov {}, {}", Local::own(1), word.part('e'), Argument::of("[{} + {}]", Reg::Fixed("rip"), Name::Fast);
            "jne {}", Label::Rust(Name::Exit(ExitId(2)));
            "jmp {}", START.back();
        }
        code.text_of(".endif");
        code
    }

    #[test]
    fn text_has_what_the_placeholders_stand_for() {
        let lines = ["23:", ".if {b1} == 4", "61: mov {s3:e}, [rip + {fast}]", "jne {exit2}", "jmp 23b", ".endif"];
        assert_eq!(code().text(), lines);
    }

    #[test]
    fn operands_are_known_by_name_and_part() {
        let (code, slot) = (code(), Name::Value(MachineRegister(3)));
        let used = [slot, Name::Bytes(TypeId(1)), Name::Fast, Name::Exit(ExitId(2))];
        assert!(used.into_iter().all(|name| code.uses(name)));
        let unused = [Name::Value(MachineRegister(1)), Name::Bytes(TypeId(4)), Name::Aborted, Name::Scratch(3)];
        assert!(!unused.into_iter().any(|name| code.uses(name)));
        assert!(code.uses_part(slot, 'e') && !code.uses_part(slot, 'l') && !code.uses_part(Name::Fast, 'e'));
    }

    #[test]
    fn numbers_are_no_constants() {
        assert!(Atom::from(7_u32).fits(0..8) && !Atom::from(8_u32).fits(0..8));
        assert!(!Atom::from(Name::Size(PointeeId(0))).fits(i64::MIN..i64::MAX));
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn a_delayed_label_is_one_instruction_further_down() {
        let mut code = code();
        code.delay(START);
        assert_eq!(code.text()[..3], [".if {b1} == 4", "61: mov {s3:e}, [rip + {fast}]", "23:"]);
    }
}
