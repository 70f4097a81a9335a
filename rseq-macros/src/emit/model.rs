//! A machine that doesn't exist: the window as Rust, one statement for each step, on registers of
//! which there are enough. Before each step, also of those that are ordinary Rust, it asks the
//! model in rseq-explore whether something interrupts the thread there.
//!
//! The steps have numbers, which are the machine's addresses. What a step means is in
//! rseq-explore's `model/expansion/window.rs`.

#![warn(clippy::wildcard_enum_match_arm)]

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{Block, Ident};

use super::tokens::{exit_number, hidden, index_kind, needs_end, reachable};
use crate::ids::Register;
use crate::ir::{Address, Before, Index, Operand, Program, Step};
use crate::syntax::text;

/// A section as the model sees it: a step of the protocol may be several of the machine's.
pub struct Listing<'p> {
    program: &'p Program,
    entries: Vec<Entry>,
    /// The number of the first entry of each step before the window.
    before: Vec<usize>,
    /// The number of the first entry of each step of the window.
    window: Vec<usize>,
    /// The number of the first exit's entry.
    exits: usize,
}

/// A place where something may interrupt the thread.
struct Entry {
    text: String,
    /// How many half statements of the section's window are behind it.
    progress: usize,
}

impl<'p> Listing<'p> {
    pub fn of(program: &'p Program) -> Self {
        let mut listing = Self { program, entries: Vec::new(), before: Vec::new(), window: Vec::new(), exits: 0 };
        for step in &program.before {
            listing.before.push(listing.entries.len());
            listing.entries.extend(texts(program, step).into_iter().map(|text| Entry { text, progress: 0 }));
        }
        let mut progress = 0;
        for step in &program.steps {
            listing.window.push(listing.entries.len());
            let (kind, text) = (Kind::of(step), program.text(step));
            if kind != Kind::Label {
                listing.entries.push(Entry { text: text.clone(), progress });
            }
            if kind == Kind::Halves {
                listing.entries.push(Entry { text: format!("{text}, in the middle of it"), progress: progress + 1 });
            }
            if matches!(kind, Kind::Statement | Kind::Halves) {
                progress += 2;
            }
        }
        listing.exits = listing.entries.len();
        for exit in program.exits() {
            listing.entries.push(Entry { text: format!("exit {exit}: disarm"), progress });
        }
        listing
    }

    /// The statics by which the model knows the section.
    pub fn code(&self, private: &TokenStream) -> TokenStream {
        let (steps, code) = names();
        let entries = self
            .entries
            .iter()
            .map(|Entry { text, progress }| hidden!(#private::CodeStep { text: #text, progress: #progress }));
        let (count, location) = (self.entries.len(), self.program.location.to_string());
        let label = |wanted: fn(&Step) -> bool| {
            self.program.steps.iter().position(wanted).map_or(0, |position| self.window[position])
        };
        let start = label(|step| matches!(step, Step::Start));
        let post = label(|step| matches!(step, Step::Post));
        hidden! {
            static #steps: [#private::CodeStep; #count] = [#(#entries),*];
            static #code: #private::Code =
                #private::Code { section: #location, steps: &#steps, start: #start, post: #post };
        }
    }

    /// A step in front of the window, and where it may be interrupted, if it isn't the same as
    /// everywhere.
    pub fn before(&self, number: usize, step: &Before, private: &TokenStream) -> Option<TokenStream> {
        match step {
            Before::Prepare(body) => Some(self.prepare(self.before[number], body, private)),
            Before::Guard | Before::Arm | Before::Index { .. } | Before::Outside => None,
        }
    }

    /// The point in front of the expressions that the window works on.
    pub fn before_window(&self, private: &TokenStream) -> TokenStream {
        let outside = self.program.before.iter().position(|step| matches!(step, Before::Outside));
        point(self.before[outside.expect("every section evaluates what its window works on")], private)
    }

    /// The user's code may be interrupted before each of its statements.
    fn prepare(&self, first: usize, body: &Block, private: &TokenStream) -> TokenStream {
        let statements = body.stmts.iter().enumerate().map(|(number, statement)| {
            let point = point(first + number, private);
            let end = needs_end(statement).then(|| hidden!(;));
            let statement = statement.to_token_stream();
            hidden!(#point #statement #end)
        });
        statements.collect()
    }

    /// The body of the window's function, whose parameters `input` names.
    pub fn window(&self, input: impl Fn(Register) -> Ident, private: &TokenStream) -> TokenStream {
        let program = self.program;
        let (_, code) = names();
        let (registers, watched) = (program.registers.len(), !program.arms_in_window());
        let inputs = program.registers.ids().map(|register| match program.registers[register].input {
            Some(_) => input(register).into_token_stream(),
            None => hidden!(0),
        });
        let kind = index_kind(program.mm_cid, private);
        let steps = (0..program.steps.len()).map(|step| self.in_window(step, private));
        let values = self.values();
        hidden! {
            #[allow(unused_mut)]
            let mut __rseq_window = #private::ModelWindow::<#kind, #registers>::begin(&#code, #watched, [#(#inputs),*]);
            #(#steps)*
            #private::Outcome::committed(#values)
        }
    }

    /// A step of the window, with the places in front of it.
    fn in_window(&self, number: usize, private: &TokenStream) -> TokenStream {
        let step = &self.program.steps[number];
        let first = self.window[number];
        let last = self.window.get(number + 1).copied().unwrap_or(self.exits);
        let points =
            (first..last).map(|at| hidden!(if __rseq_window.is_aborted(#at) { return #private::Outcome::ABORTED; }));
        let statement = self.step(*step, private);
        // The half of a copy comes between its two points. SAFETY of the expansion: the bytes are
        // those of the half before it, which the user wrote `unsafe` for.
        match (Kind::of(step), points.collect::<Vec<_>>().as_slice()) {
            (Kind::Halves, [first, second]) => {
                hidden!(#first let __rseq_half = #statement; #second unsafe { __rseq_half.finish() };)
            }
            (Kind::Check, points) => {
                hidden!(#(#points)* if !(#statement) { return #private::Outcome::ABORTED; })
            }
            (_, points) => hidden!(#(#points)* #statement),
        }
    }

    /// A step as a statement; one that may lead to the abort handler, as the condition that it
    /// doesn't.
    // SAFETY of the expansion: places are references to atomics, or what the user wrote `unsafe`
    // for; they are computed as for the asm.
    fn step(&self, step: Step, private: &TokenStream) -> TokenStream {
        match step {
            Step::Publish { descriptor } => hidden!(__rseq_window.publish(#descriptor);),
            Step::ArmWindow { area, .. } => hidden!(__rseq_window.arm(#area);),
            Step::CheckArmed { area, descriptor } => hidden!(__rseq_window.check_armed(#area, #descriptor)),
            Step::CheckIndex { area, index } => hidden!(__rseq_window.check_index(#area, #index)),
            Step::CheckRegistered { area, .. } => hidden!(__rseq_window.check_registered(#area)),
            Step::ReadIndex { to, area } => hidden!(#to = __rseq_window.read_index(#area);),
            Step::Slot { to, slots, index, pointee } => {
                let index = match index {
                    Index::Read(index) => hidden!(#index),
                    Index::InArea(area) => hidden!(__rseq_window.read_index(#area)),
                };
                let to = to.0;
                hidden!({
                    let __rseq_index = #index;
                    // SAFETY of the expansion: the register has the address of the section's slots.
                    unsafe { __rseq_window.find_slot(#to, #slots, __rseq_index, #private::slot_bytes::<#pointee>()) }
                })
            }
            Step::Element { to, base, index, pointee } => {
                hidden!(#to = #private::element_address(#base, #index, #private::bytes_of::<#pointee>());)
            }
            Step::Field { to, at } => hidden!(#to = #at;),
            // SAFETY of the expansion, here and below: as above.
            Step::Load { to, at, ty } => hidden!(#to = unsafe { __rseq_window.load::<#ty>(#at) };),
            Step::Compute { to, left, operation, right, ty } => {
                let operation = operation.symbol();
                hidden!(#to = #private::compute::<#ty>(#left, #operation, #right);)
            }
            Step::Store { at, value, ty } => hidden!(unsafe { __rseq_window.store::<#ty>(#at, #value) };),
            Step::Copy { from, to, length } => hidden!(unsafe { __rseq_window.copy_half(#from, #to, #length) }),
            Step::Exit { left, comparison, right, ty, exit, area } => {
                let (comparison, values) = (comparison.symbol(), self.values());
                let (at, number) = (self.exits + exit.0, exit_number(exit));
                let disarms = self.program.steps.iter().any(|step| matches!(step, Step::Disarm { .. }));
                let disarm = disarms.then(|| hidden!(__rseq_window.disarm(#area);));
                hidden! {
                    if #private::compare::<#ty>(#left, #comparison, #right) {
                        __rseq_window.is_aborted(#at);
                        #disarm
                        return #private::Outcome { end: #number, values: #values };
                    }
                }
            }
            Step::CommitStore { at, value, ty, .. } => hidden!(unsafe { __rseq_window.commit::<#ty>(#at, #value) };),
            Step::CommitUpdate { at, operation, value, ty } => {
                let operation = operation.symbol();
                hidden! {
                    let __rseq_at = #at;
                    let __rseq_new = #private::compute::<#ty>(
                        unsafe { __rseq_window.load::<#ty>(__rseq_at) }, #operation, #value
                    );
                    unsafe { __rseq_window.commit::<#ty>(__rseq_at, __rseq_new) };
                }
            }
            Step::Disarm { area } => hidden!(__rseq_window.disarm(#area);),
            // Labels are addresses, no instructions; and the model has as many registers as it
            // takes.
            Step::Start | Step::Post | Step::Fetch { .. } => TokenStream::new(),
        }
    }

    /// The values that the section uses once the window is over.
    fn values(&self) -> TokenStream {
        let registers = self.program.outputs.iter().map(|(_, output)| output);
        hidden!([#(#registers),*])
    }
}

/// The names of the statics. (Items have no hygiene of their own.)
fn names() -> (Ident, Ident) {
    let name = |name| Ident::new(name, Span::mixed_site());
    (name("__RSEQ_STEPS"), name("__RSEQ_CODE"))
}

/// How the entries of a step before the window read: none for what is no instruction.
fn texts(program: &Program, step: &Before) -> Vec<String> {
    match step {
        Before::Guard | Before::Arm | Before::Index { .. } => Vec::new(),
        Before::Prepare(body) => body.stmts.iter().map(|statement| format!("prepare: {}", text(statement))).collect(),
        Before::Outside => vec![program.lines(step).join("\n    ")],
    }
}

/// A kind of step of the window, to the model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An address, and no instruction.
    Label,
    /// Part of the protocol, or of what the section's author wrote.
    Part,
    /// The same, and it may lead to the abort handler by itself.
    Check,
    /// A statement of the section's author, the commit included.
    Statement,
    /// The same, with a place in the middle of it.
    Halves,
}

impl Kind {
    fn of(step: &Step) -> Self {
        match step {
            Step::Start | Step::Post => Self::Label,
            Step::CheckArmed { .. } | Step::CheckIndex { .. } | Step::CheckRegistered { .. } | Step::Slot { .. } => {
                Self::Check
            }
            Step::Publish { .. }
            | Step::ArmWindow { .. }
            | Step::Fetch { .. }
            | Step::ReadIndex { .. }
            | Step::Element { .. }
            | Step::Field { .. }
            | Step::Disarm { .. } => Self::Part,
            Step::Load { .. }
            | Step::Compute { .. }
            | Step::Store { .. }
            | Step::Exit { .. }
            | Step::CommitStore { .. }
            | Step::CommitUpdate { .. } => Self::Statement,
            Step::Copy { .. } => Self::Halves,
        }
    }
}

/// A place outside of the window: nothing but itself goes elsewhere from there.
fn point(at: usize, private: &TokenStream) -> TokenStream {
    let (_, code) = names();
    let reachable = reachable();
    hidden!(#reachable #private::passes(&#code, #at);)
}

/// A register of the model's machine.
impl ToTokens for Register {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self(number) = self;
        tokens.extend(hidden!(__rseq_window.registers[#number]));
    }
}

impl ToTokens for Operand {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        match self {
            Self::Register(register) => register.to_tokens(tokens),
            Self::Immediate(number) => {
                let number = *number as isize;
                tokens.extend(hidden!((#number).cast_unsigned()));
            }
        }
    }
}

impl ToTokens for Address {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { base, offset } = self;
        tokens.extend(match offset {
            Some(offset) => hidden!((#base).wrapping_add(#offset)),
            None => hidden!(#base),
        });
    }
}
