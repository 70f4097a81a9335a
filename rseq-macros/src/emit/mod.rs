//! From steps to tokens: ordinary Rust around one commit block.
//!
//! Every name of the macro's own is resolved where the macro is defined, so that user code neither sees nor changes it;
//! the user's tokens keep their spans.

pub mod x86_64;

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Block, Expr, Stmt, StmtMacro};

use crate::ir::{OnAbort, Program, Step};
use crate::syntax::ast::Order;

/// What the macro's shell says of the place where a section is compiled.
pub struct Context {
    /// The path of the facade crate, whatever it is called there.
    facade: TokenStream,
    emitter: Emitter,
    /// Whether this is a debug build.
    pub checked: bool,
}

/// How commit blocks are written.
enum Emitter {
    X86_64,
    /// There is none for the target: sections run in portable mode alone.
    None,
}

impl Context {
    /// Takes the bracketed groups in front of a section: the facade, the emitter, and others for the caller.
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
        let emitter = match words.first().map(String::as_str) {
            Some("x86_64") => Emitter::X86_64,
            _ => Emitter::None,
        };
        let checked = words.iter().any(|word| word == "checked");
        Ok((Self { facade, emitter, checked }, groups.map(|group| group.to_string()).collect(), tokens.collect()))
    }

    /// The path of what expansions use.
    fn private(&self) -> TokenStream {
        let facade = &self.facade;
        quote!(#facade::__private)
    }
}

/// Quotes what the macro itself says: resolved where the macro is defined, so that a name of the user's never meets it.
macro_rules! hidden {
    ($($tokens:tt)*) => { quote_spanned!(Span::mixed_site()=> $($tokens)*) };
}

/// The whole expansion: an expression.
pub fn program(program: &Program, context: &Context) -> TokenStream {
    let private = context.private();
    let guarded = program.steps.iter().any(|step| matches!(step, Step::Guard));
    let taken =
        if guarded { hidden!(section) } else { hidden!(#private::core::mem::ManuallyDrop::into_inner(section)) };
    let before = program.steps.iter().map(|step| rust(step, guarded, context));
    let commit = commit(program, context);
    let on_abort = on_abort(&program.abort, &private);
    let relax = matches!(program.abort, OnAbort::Relax);
    let counter = counter(&program.abort);
    let reachable = reachable();
    // In parentheses, because a value that starts with a label can't stand behind the label of `break`.
    let result = program.result.as_ref().map_or_else(|| hidden!(()), |result| hidden!((#result)));
    // The block inside the loop has rustc refuse an unlabelled `break` or `continue` of the user's, were it hidden in the
    // arguments of a macro.
    hidden! {{
        #counter
        'retry: loop {
            'attempt: {
                #(#before)*
                #commit
                if committed {
                    #private::Section::committed(#taken);
                } else if !#private::Section::aborted(#taken, #relax, publish) {
                    #on_abort
                    #reachable
                    break 'attempt;
                }
                #reachable
                break 'retry #result;
            }
        }
    }}
}

/// The user's code of a section that was refused, where it never runs. So rustc resolves the names and checks the types in it:
/// nothing else looks unused because of the mistake, and editors can complete.
pub fn refused(program: &Program, context: &Context) -> TokenStream {
    let before = program.steps.iter().map(|step| rust(step, true, context));
    let counter = counter(&program.abort);
    let on_abort = on_abort(&program.abort, &context.private());
    let reachable = reachable();
    let result = program.result.as_ref().map(|result| hidden!(#reachable let _ = #result;));
    hidden! {
        while false {
            #counter
            #(#before)*
            #on_abort
            #result
        }
    }
}

/// In front of a statement of the macro's own: that the user's code may never get to it is none of the user's business.
fn reachable() -> TokenStream {
    hidden!(#[allow(unreachable_code, clippy::diverging_sub_expression)])
}

/// Where the aborts are counted, if they have a name.
fn counter(abort: &OnAbort) -> TokenStream {
    match abort {
        OnAbort::Run { count: Some(_), .. } => hidden!(let mut aborts = 0;),
        _ => TokenStream::new(),
    }
}

/// A step that is ordinary Rust.
fn rust(step: &Step, guarded: bool, context: &Context) -> TokenStream {
    let private = context.private();
    match step {
        Step::Arm if guarded => hidden!(let section = #private::Section::enter();),
        Step::Arm => hidden!(let section = #private::core::mem::ManuallyDrop::new(#private::Section::enter());),
        Step::Index { name, kind } => {
            let facade = &context.facade;
            let kind = kind.as_ref().map(|kind| quote!(: #facade::#kind));
            hidden!(let #name #kind = #private::Section::index(&section);)
        }
        Step::Prepare(body) => statements(body),
        Step::Operands { place, value } => {
            let (unsafety, reachable) = (unsafety(place), reachable());
            hidden! {
                #reachable
                let target = #private::target(#place);
                #unsafety;
                #reachable
                let value = target.value(#value);
            }
        }
        _ => TokenStream::new(),
    }
}

/// The call that is unsafe for a raw pointer. It spans the user's place, so that it is there that rustc asks for `unsafe`.
fn unsafety(place: &Expr) -> TokenStream {
    let mut tokens = place.to_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::call_site, |token| token.span());
    let last = tokens.last().map_or(first, |token| token.span());
    let [first, last] = [first, last].map(|end| Span::mixed_site().located_at(end));
    let call = quote_spanned!(last=> .access().commit_to_raw_pointer());
    quote_spanned!(first=> target #call)
}

/// The statements of a block, for a place where others follow. The value of its last expression is nobody's.
fn statements(body: &Block) -> TokenStream {
    let mut tokens = TokenStream::new();
    for statement in &body.stmts {
        statement.to_tokens(&mut tokens);
    }
    if let Some(Stmt::Expr(_, None) | Stmt::Macro(StmtMacro { semi_token: None, .. })) = body.stmts.last() {
        hidden!(;).to_tokens(&mut tokens);
    }
    tokens
}

/// `committed`: whether the commit block committed. `publish`: the same commit for the portable mode.
fn commit(program: &Program, context: &Context) -> TokenStream {
    let private = context.private();
    let steps: Vec<&Step> = program.steps.iter().filter(|step| step.is_in_commit_block()).collect();
    let block = match context.emitter {
        Emitter::X86_64 => commit_block(&steps, &private),
        Emitter::None => hidden!(false),
    };
    let order = if steps.iter().any(|step| matches!(step, Step::Commit(Order::Release))) {
        hidden!(Release)
    } else {
        hidden!(Relaxed)
    };
    let allow = hidden!(#[allow(unsafe_code, unused_unsafe, clippy::undocumented_unsafe_blocks)]);
    // SAFETY of the expansion: for a raw pointer, the user's `unsafe` around the macro says that it may be stored to.
    hidden! {
        #allow
        let committed = #block;
        #allow
        let publish = move || unsafe { target.store(value, #private::core::sync::atomic::Ordering::#order) };
    }
}

/// The commit block, once for each width. The width of the place is a constant, so one of them is left.
fn commit_block(steps: &[&Step], private: &TokenStream) -> TokenStream {
    let index = steps.iter().any(|step| matches!(step, Step::CheckIndex));
    let cpu = index.then(|| hidden!(cpu = in(reg) #private::Section::index(&section).get(),));
    let [byte, half, word, double] = [8, 16, 32, 64].map(|bits| {
        let lines = x86_64::commit_block(steps, bits);
        let scratch = x86_64::scratch();
        hidden! {
            #private::core::arch::asm!(
                #(#lines,)*
                td = in(reg) #private::Section::descriptor(&section),
                area = in(reg) #private::Section::area(&section),
                place = in(reg) target.address(),
                value = in(reg) value.bits(),
                #cpu
                aborted = label { break 'window false },
                #scratch
                options(nostack),
            )
        }
    });
    // SAFETY of the expansion: the descriptor and the area are the calling thread's, armed by `Section::enter`; the place is a
    // reference to an atomic, or a raw pointer for which the user wrote `unsafe`. The block stores to these three and nothing else.
    hidden! {
        'window: {
            unsafe {
                match target.bits() {
                    8 => #byte,
                    16 => #half,
                    32 => #word,
                    _ => #double,
                }
            }
            true
        }
    }
}

fn on_abort(abort: &OnAbort, private: &TokenStream) -> TokenStream {
    match abort {
        OnAbort::Relax => TokenStream::new(),
        OnAbort::Run { count, body } => {
            let count = count.as_ref().map(|count| {
                hidden! {
                    aborts = #private::count::<0>(aborts);
                    let #count = aborts;
                }
            });
            let statements = &body.stmts;
            hidden!({ #count #(#statements)* })
        }
    }
}
