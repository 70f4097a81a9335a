//! From steps to tokens: ordinary Rust around one window.
//!
//! Every name of the macro's own is resolved where the macro is defined, so that user code neither
//! sees nor changes it; the user's tokens keep their spans. That holds for variables. A name that a
//! pattern binds must also be none of the user's statics, constants and unit structs, which it
//! would be taken for: so these all begin with `__rseq_`.

pub mod arch;
pub mod asm;
mod block;
mod code;
mod editor;
mod model;
mod note;
mod places;
mod portable;
mod window;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use rseq_abi::outcome;
use syn::{Block, Ident, Stmt, StmtMacro};

use self::arch::Machine;
pub use self::editor::editor;
use crate::allocate::{self, Allocation};
use crate::frame;
use crate::ir::{OnAbort, Program, Step};
use crate::resolve::{Outside, OutsideKind, Statement, ValueId};
use crate::syntax::ast::Section;

/// What the macro's shell says of the place where a section is compiled.
pub struct Context {
    /// The path of the facade crate, whatever it is called there.
    facade: TokenStream,
    emitter: Emitter,
    /// Whether this is a debug build.
    pub checked: bool,
    /// Whether sections are audited.
    audited: bool,
}

/// How windows are written.
enum Emitter {
    /// As asm.
    Machine(&'static dyn Machine),
    /// As Rust, for the model in rseq-explore to interrupt.
    Model,
    /// None: the section is for an editor to read.
    Editor,
    /// There is none for the target: sections run in portable mode alone.
    None,
}

/// Where a window keeps its values, which decides what it becomes.
pub enum Registers {
    /// In registers of the machine: it becomes asm.
    Machine(&'static dyn Machine, Allocation),
    /// In registers of the model.
    Virtual,
    /// Nowhere: there is but the portable form.
    None,
}

/// How a window says that it was left.
#[derive(Clone, Copy)]
pub enum Ways {
    /// It goes to a label of Rust's for each way: the shortest, but then rustc lets it return
    /// nothing.
    Labels,
    /// It leaves a number in this slot and ends as if it had committed.
    Number(usize),
}

impl Context {
    /// Takes the bracketed groups in front of a section: the facade, the emitter, and others for
    /// the caller.
    pub fn split(tokens: TokenStream) -> syn::Result<(Self, Vec<String>, TokenStream)> {
        let mut tokens = tokens.into_iter().peekable();
        let mut groups = Vec::new();
        while let Some(TokenTree::Group(group)) = tokens.next_if(
            |token| matches!(token, TokenTree::Group(group) if group.delimiter() == proc_macro2::Delimiter::Bracket),
        ) {
            groups.push(group.stream());
        }
        let mut groups = groups.into_iter();
        let (Some(facade), Some(emitter)) = (groups.next(), groups.next()) else {
            return Err(syn::Error::new(Span::call_site(), "use `rseq::rseq!`, which tells this macro where it is"));
        };
        let words: Vec<_> = emitter.into_iter().map(|word| word.to_string()).collect();
        let emitter = match words.first().map_or("", String::as_str) {
            _ if editor::asks() => Emitter::Editor,
            "editor" => Emitter::Editor,
            "model" => Emitter::Model,
            name => arch::named(name).map_or(Emitter::None, Emitter::Machine),
        };
        let [checked, audited] = ["checked", "audit"].map(|wanted| words.iter().any(|word| word == wanted));
        Ok((
            Self { facade, emitter, checked, audited },
            groups.map(|group| group.to_string()).collect(),
            tokens.collect(),
        ))
    }

    /// Whether it is asked behind windows whose the places are that they store to.
    pub fn asks_whose_places(&self) -> bool {
        self.checked || self.audited
    }

    /// Whether it is an editor that asks, and not a compiler.
    pub fn is_editor(&self) -> bool {
        matches!(self.emitter, Emitter::Editor)
    }

    /// The path of what expansions use.
    fn private(&self) -> TokenStream {
        let facade = &self.facade;
        quote!(#facade::__private)
    }

    /// The registers of the program's window on this target; an error if the target hasn't as many.
    pub fn allocate(&self, program: &mut Program) -> syn::Result<Registers> {
        match self.emitter {
            Emitter::Machine(machine) => {
                let most = machine.registers(program);
                let mut allocation = allocate::allocate(program, most);
                if allocation.is_err() && machine.has_few_registers() {
                    frame::spread(program);
                    allocation = allocate::allocate(program, most);
                }
                if allocation.is_err() && places::give_up(program) {
                    allocation = allocate::allocate(program, most);
                }
                let allocation = allocation.map_err(|too_many| too_many.error(most))?;
                Ok(Registers::Machine(machine, allocation))
            }
            Emitter::Model => Ok(Registers::Virtual),
            Emitter::Editor | Emitter::None => Ok(Registers::None),
        }
    }
}

/// Quotes what the macro itself says: resolved where the macro is defined, so that a name of the
/// user's never meets it.
macro_rules! hidden {
    ($($tokens:tt)*) => { quote::quote_spanned!(proc_macro2::Span::mixed_site()=> $($tokens)*) };
}
use hidden;

/// A name for a variable of the macro's own.
fn own(name: impl std::fmt::Display) -> Ident {
    own_at(name, Span::mixed_site())
}

/// The same, for messages about what stands there.
fn own_at(name: impl std::fmt::Display, span: Span) -> Ident {
    Ident::new(&format!("__rseq_{name}"), located(span))
}

/// The whole expansion: an expression.
pub fn program(program: &Program, registers: &Registers, context: &Context) -> TokenStream {
    let private = context.private();
    let (before, types) = (before(program, context), types(program, &private));
    let attempt = around_window(program, context, &attempt(program, registers, context));
    let audit = audit(program, context);
    if program.repeats_by_itself() {
        return hidden!('retry: { #audit #before #types #attempt });
    }
    let counter = counter(&program.abort);
    // The block inside the loop has rustc refuse an unlabelled `break` or `continue` of the user's,
    // were it hidden in the arguments of a macro.
    hidden! {{
        #counter
        #audit
        'retry: loop {
            'attempt: {
                #before
                #types
                #attempt
            }
        }
    }}
}

/// The window, when all is evaluated that it works on, and what follows it.
fn attempt(program: &Program, registers: &Registers, context: &Context) -> TokenStream {
    let private = context.private();
    let (prepared, portable) = (prepared(program, context), portable::closure(program, &private));
    let (window, again) = window::outcome(program, registers, context);
    let (ended, over) = (ended(program, context), over(program, &private));
    let (left, committed) = (places::left(program, context), places::committed(program, context));
    let (aborted, exits) = (aborted(program, &again, context), exits(program, &private));
    let last = last_exit(program);
    let names = bind(program, &program.window.in_result, &private);
    let reachable = reachable();
    // In parentheses, because a value that starts with a label can't stand behind the label of
    // `break`.
    let result = program.result.as_ref().map_or_else(|| hidden!(()), |result| hidden!((#result)));
    hidden! {
        #prepared
        #portable
        #window
        #ended
        if __rseq_outcome.end <= #last {
            if __rseq_outcome.end == #private::Outcome::<0>::ABORTED.end {
                #aborted
            }
            #left
            #over
            #exits
        }
        #committed
        #over
        #names
        #reachable
        break 'retry #result;
    }
}

/// The user's code of a section that was refused, where it never runs. So rustc resolves the names
/// and checks the types in it: nothing else looks unused because of the mistake, and editors can
/// complete.
pub fn refused(program: &Program, context: &Context) -> TokenStream {
    let private = context.private();
    let (audit, before) = (audit(program, context), before(program, context));
    let types = types(program, &private);
    let portable = portable::closure(program, &private);
    let window = around_window(program, context, &hidden!(#portable let _ = __rseq_portable;));
    let counter = counter(&program.abort);
    let on_abort = on_abort(&program.abort, &private);
    let reachable = reachable();
    let exits = exit_values(program).map(|(names, value)| {
        let names = bind(program, names, &private);
        hidden!({ #names #reachable let _ = #value; })
    });
    let names = bind(program, &program.window.in_result, &private);
    let result = program.result.as_ref().map(|result| hidden!(#reachable let _ = #result;));
    let outputs = program.outputs.len();
    hidden! {
        while false {
            #counter
            #audit
            #before
            #types
            #window
            let __rseq_outcome = #private::Outcome::<#outputs>::ABORTED;
            #on_abort
            #(#exits)*
            #names
            #result
        }
    }
}

/// The same for a section in whose window not every name means something: what is ordinary Rust all
/// the same.
pub fn unresolved(section: &Section, context: &Context) -> TokenStream {
    let private = context.private();
    let kind = index_kind(section.is_mm_cid(), &private);
    let index = section.index.as_ref().map(|index| {
        let name = &index.name;
        hidden!(#[allow(unused_variables)] let #name = #private::Section::<#kind>::enter().index();)
    });
    let prepare = section.prepare.as_ref().map(statements);
    hidden! {
        while false {
            #index
            #prepare
        }
    }
}

/// In front of a statement of the macro's own: that the user's code may never get to it is none of
/// the user's business.
fn reachable() -> TokenStream {
    hidden!(#[allow(unreachable_code, clippy::diverging_sub_expression, clippy::unused_unit)])
}

/// In front of a statement with `unsafe` of the macro's own.
fn allow_unsafe() -> TokenStream {
    hidden!(#[allow(unsafe_code, unused_unsafe, clippy::undocumented_unsafe_blocks)])
}

/// The audit of the section, which knows where it stands.
fn audit(program: &Program, context: &Context) -> TokenStream {
    if !context.audited {
        return TokenStream::new();
    }
    let (private, location) = (context.private(), program.location.to_string());
    hidden! {
        let __rseq_audit = &#private::Audit::new({
            static LOCATION: #private::Location = #private::Location::new(#location);
            &LOCATION
        });
    }
}

/// Tells the audit that the window is over.
fn ended(program: &Program, context: &Context) -> TokenStream {
    if !context.audited || program.arms_in_window() {
        return TokenStream::new();
    }
    let private = context.private();
    hidden!(#private::Audit::ended(__rseq_audit, &__rseq_section);)
}

/// Tells the audit of one more abort.
fn audit_abort(context: &Context) -> Option<TokenStream> {
    let private = context.private();
    context.audited.then(|| hidden!(#private::Audit::aborted(__rseq_audit);))
}

/// Where the aborts are counted, if they have a name.
fn counter(abort: &OnAbort) -> TokenStream {
    match abort {
        OnAbort::Run { count: Some(_), .. } => hidden!(let mut __rseq_aborts = 0;),
        _ => TokenStream::new(),
    }
}

/// Everything up to the expressions that the window works on.
fn before(program: &Program, context: &Context) -> TokenStream {
    let (guarded, private) = (is_guarded(program), context.private());
    let listing = listing(program, context);
    let code = listing.as_ref().map(|listing| listing.code(&private));
    let steps = program.steps.iter().enumerate().map(|(number, step)| match &listing {
        Some(listing) => {
            listing.before(number, step, &private).unwrap_or_else(|| rust(step, program, guarded, context))
        }
        None => rust(step, program, guarded, context),
    });
    hidden!(#code #(#steps)*)
}

/// These expressions, around what works on them. They are nested, each what the next one's `match`
/// is on, so that what is temporary in one lives while the window runs.
fn around_window(program: &Program, context: &Context, inner: &TokenStream) -> TokenStream {
    let private = context.private();
    let point = listing(program, context).map(|listing| listing.before_window(&private));
    let outside = program.window.outside.iter().enumerate().rev();
    let nest = outside.fold(hidden!({ #inner }), |inner, (id, outside)| evaluate(id, outside, &inner, &private));
    hidden!(#point #nest)
}

/// What the model is told of a section that is for it.
fn listing<'p>(program: &'p Program, context: &Context) -> Option<model::Listing<'p>> {
    matches!(context.emitter, Emitter::Model).then(|| model::Listing::of(program))
}

/// Whether it is a negative control, of which nothing is asked that only debug builds ask: it may
/// leave sections armed on purpose, and the more often it is in its window, the sooner it loses
/// something.
fn is_control(program: &Program) -> bool {
    !program.flaws.is_empty()
}

fn is_guarded(program: &Program) -> bool {
    program.steps.iter().any(|step| matches!(step, Step::Guard))
}

/// The kind of index that the section uses.
fn index_kind(mm_cid: bool, private: &TokenStream) -> TokenStream {
    if mm_cid { hidden!(#private::MmCid) } else { hidden!(#private::CpuId) }
}

/// A step that is ordinary Rust.
fn rust(step: &Step, program: &Program, guarded: bool, context: &Context) -> TokenStream {
    let private = context.private();
    let kind = index_kind(program.mm_cid, &private);
    match step {
        Step::Arm => {
            let enter = if context.audited {
                hidden!(#private::Audit::enter::<#kind>(__rseq_audit))
            } else {
                hidden!(#private::Section::<#kind>::enter())
            };
            if guarded {
                hidden!(let __rseq_section = #enter;)
            } else {
                hidden!(let __rseq_section = #private::core::mem::ManuallyDrop::new(#enter);)
            }
        }
        Step::Index { name, kind } => {
            let facade = &context.facade;
            let kind = kind.as_ref().map(|kind| quote!(: #facade::#kind));
            hidden!(let #name #kind = #private::Section::index(&__rseq_section);)
        }
        Step::Prepare(body) => statements(body),
        // What the expressions evaluated for the window are around, and the window: see
        // `around_window`. The guard is what arming makes.
        Step::Guard
        | Step::Outside
        | Step::Publish { .. }
        | Step::ArmWindow { .. }
        | Step::Start
        | Step::CheckArmed { .. }
        | Step::CheckIndex { .. }
        | Step::Fetch { .. }
        | Step::CheckRegistered { .. }
        | Step::ReadIndex { .. }
        | Step::Slot { .. }
        | Step::Element { .. }
        | Step::Field { .. }
        | Step::Load { .. }
        | Step::Compute { .. }
        | Step::Store { .. }
        | Step::Copy { .. }
        | Step::Exit { .. }
        | Step::CommitStore { .. }
        | Step::CommitUpdate { .. }
        | Step::Post
        | Step::Disarm { .. } => TokenStream::new(),
    }
}

/// An expression that is evaluated before the window, and what comes with its value at hand.
fn evaluate(id: usize, Outside { kind, code }: &Outside, inner: &TokenStream, private: &TokenStream) -> TokenStream {
    let (name, reachable) = (outside(id), reachable());
    let value = match kind {
        OutsideKind::Place => hidden!(#private::target(#code)),
        OutsideKind::Operand => hidden!(#code),
        OutsideKind::ValueOf(place) => {
            let place = outside(*place);
            hidden!(#place.value(#code))
        }
        OutsideKind::Slots => hidden!(#private::per_cpu(&#code)),
        OutsideKind::Elements => hidden!(#private::elements(&#code)),
        OutsideKind::Source => hidden!(#private::source(#code)),
        OutsideKind::Destination => hidden!(#private::destination(#code)),
    };
    let unsafety = match kind {
        OutsideKind::Place => Some(unsafety(&hidden!(#name.access()), code)),
        OutsideKind::Source | OutsideKind::Destination => Some(unsafety(&hidden!(#name), code)),
        _ => None,
    };
    hidden! {
        #reachable
        match #value {
            #name => {
                #unsafety
                #inner
            }
        }
    }
}

/// The call that is unsafe for a raw pointer. It spans the user's place, so that it is there that
/// rustc asks for `unsafe`.
fn unsafety(receiver: &TokenStream, place: &impl ToTokens) -> TokenStream {
    let mut tokens = place.to_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::call_site, |token| token.span());
    let last = tokens.last().map_or(first, |token| token.span());
    let [first, last] = [first, last].map(|end| Span::mixed_site().located_at(end));
    let receiver: TokenStream = receiver
        .clone()
        .into_iter()
        .map(|mut token| {
            token.set_span(first);
            token
        })
        .collect();
    let call = quote_spanned!(last=> .use_raw_pointer());
    hidden!(#receiver #call;)
}

/// The statements of a block, for a place where others follow. The value of its last expression is
/// nobody's.
fn statements(body: &Block) -> TokenStream {
    let mut tokens = TokenStream::new();
    for statement in &body.stmts {
        statement.to_tokens(&mut tokens);
    }
    if body.stmts.last().is_some_and(needs_end) {
        hidden!(;).to_tokens(&mut tokens);
    }
    tokens
}

/// Whether a statement is an expression that others can't stand behind as it is.
fn needs_end(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Expr(_, None) | Stmt::Macro(StmtMacro { semi_token: None, .. }))
}

/// From here on, no way but the window leads out of the section, and that disarms by itself.
fn prepared(program: &Program, context: &Context) -> TokenStream {
    let (private, reachable, evaluated) = (context.private(), reachable(), places::evaluated(program, context));
    if program.arms_in_window() {
        return match (context.audited, context.checked) {
            (true, _) => hidden!(#reachable #private::Audit::window(__rseq_audit); #evaluated),
            (false, true) if !is_control(program) => hidden!(#reachable #private::window_begins();),
            (false, _) => TokenStream::new(),
        };
    }
    let section = if is_guarded(program) {
        hidden!(__rseq_section)
    } else {
        hidden!(#private::core::mem::ManuallyDrop::into_inner(__rseq_section))
    };
    let index = places::prepared(program, context);
    let is_checked = context.checked && !context.audited && !is_control(program);
    let check = is_checked.then(|| hidden!(#reachable #private::Section::check(&__rseq_section);));
    hidden!(#evaluated #check #reachable let __rseq_section = #private::Section::prepared(#section); #index)
}

/// The name of an expression that was evaluated before the window.
fn outside(id: usize) -> Ident {
    own(format_args!("outside_{id}"))
}

/// The name of the type of a statement, or of the commit.
fn typed(id: usize) -> Ident {
    own(format_args!("type_{id}"))
}

/// All that was evaluated before the window.
fn operands(program: &Program) -> TokenStream {
    let operands = (0..program.window.outside.len()).map(outside);
    hidden!((#(#operands,)*))
}

/// How many statements have a type: the commit's is the last.
fn types_count(program: &Program) -> usize {
    program.window.statements.len() + 1
}

/// A type, to be inferred, for each statement and the commit.
fn types(program: &Program, private: &TokenStream) -> TokenStream {
    let reachable = reachable();
    let types = (0..types_count(program)).map(|id| {
        let name = typed(id);
        // Steps without a type of their own have one that says nothing.
        match program.window.statements.get(id) {
            Some(Statement::Copy { .. }) => {
                hidden!(#reachable let #name = #private::Typed::<#private::core::primitive::u8>::new();)
            }
            _ => hidden!(#reachable let #name = #private::Typed::new();),
        }
    });
    types.collect()
}

/// What an abort of the window leads to: the section starts again, unless its window ran in
/// portable mode.
fn aborted(program: &Program, again: &TokenStream, context: &Context) -> TokenStream {
    let private = &context.private();
    let relax = matches!(program.abort, OnAbort::Relax);
    let (open, operands) = (open(program, private), operands(program));
    let outcome = if program.repeats_by_itself() {
        let allow = allow_unsafe();
        return hidden! {
            #allow
            {
                __rseq_outcome = #private::window_repeated(#open, #operands, __rseq_portable, #again);
            }
        };
    } else if program.arms_in_window() {
        hidden!(#private::window_aborted(#relax, #open, #operands, __rseq_portable))
    } else {
        hidden!(__rseq_section.aborted(#relax, #operands, __rseq_portable))
    };
    let (over, on_abort, reachable) = (over(program, private), on_abort(&program.abort, private), reachable());
    let audit = audit_abort(context);
    hidden! {
        __rseq_outcome = #outcome;
        if __rseq_outcome.end <= #private::Outcome::<0>::AGAIN.end {
            #over
            if __rseq_outcome.end == #private::Outcome::<0>::ABORTED.end {
                #audit
                #on_abort
            }
            #reachable
            break 'attempt;
        }
    }
}

/// The window is over: up to here the compiler sees borrowed what its expressions borrow.
fn over(program: &Program, private: &TokenStream) -> TokenStream {
    let operands = operands(program);
    hidden!(#private::over(#operands);)
}

/// Opens the slots that the window finds by itself, and says what there was to do.
fn open(program: &Program, private: &TokenStream) -> TokenStream {
    let slots = program.window.outside.iter().enumerate().filter(|(_, outside)| outside.kind == OutsideKind::Slots);
    let opened = slots.map(|(id, _)| {
        let name = outside(id);
        hidden!(#private::core::cmp::Ord::max(__rseq_opened, #private::PerCpu::open(#name)))
    });
    hidden! {
        move || {
            let __rseq_opened = #private::Opening::Before;
            #(let __rseq_opened = #opened;)*
            __rseq_opened
        }
    }
}

fn on_abort(abort: &OnAbort, private: &TokenStream) -> TokenStream {
    match abort {
        OnAbort::Relax => TokenStream::new(),
        OnAbort::Run { count, body } => {
            let count = count.as_ref().map(|count| {
                hidden! {
                    __rseq_aborts = #private::count::<0>(__rseq_aborts);
                    let #count = __rseq_aborts;
                }
            });
            let statements = &body.stmts;
            hidden!({ #count #(#statements)* })
        }
    }
}

/// The number of the last exit; what is above it has committed.
fn last_exit(program: &Program) -> usize {
    exit_number(program.exits()) - 1
}

/// The number with which a window leaves by this exit.
fn exit_number(exit: usize) -> usize {
    outcome::FIRST_EXIT + exit
}

/// The values of the exits, with the values of the window that they name.
fn exit_values(program: &Program) -> impl Iterator<Item = (&[ValueId], &syn::Expr)> {
    program.window.statements.iter().filter_map(|statement| match statement {
        Statement::Exit { names, value, .. } => Some((&names[..], value)),
        _ => None,
    })
}

/// Leaves the section by the exit that the window took.
fn exits(program: &Program, private: &TokenStream) -> TokenStream {
    let reachable = reachable();
    let exits = exit_values(program).enumerate().map(|(exit, (names, value))| {
        let (number, names) = (exit_number(exit), bind(program, names, private));
        hidden! {
            if __rseq_outcome.end == #number {
                #names
                #reachable
                break 'retry (#value);
            }
        }
    });
    exits.collect()
}

/// Gives values of the window their names.
fn bind(program: &Program, values: &[ValueId], private: &TokenStream) -> TokenStream {
    let allow = hidden!(#[allow(unsafe_code, unused_variables, clippy::undocumented_unsafe_blocks)]);
    let bound = values.iter().map(|value| {
        let position = program.outputs.iter().position(|(output, _)| output == value);
        let position = position.expect("a value that is used behind the window is an output of it");
        let info = &program.window.values[*value];
        let name = &info.name;
        let bits = hidden!(__rseq_outcome.values[#position]);
        // SAFETY of the expansion: the window left the bits of such a value there, because it came
        // past the step that makes it.
        match info.statement {
            Some(statement) => {
                let typed = typed(statement);
                hidden!(#allow let #name = unsafe { #private::from_bits(#typed, #bits) };)
            }
            None => {
                let kind = index_kind(program.mm_cid, private);
                hidden!(#allow let #name: #kind = unsafe { #private::index_from_bits(#bits) };)
            }
        }
    });
    bound.collect()
}

/// The first token's place in the source, for a token of the macro's own.
fn located(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}
