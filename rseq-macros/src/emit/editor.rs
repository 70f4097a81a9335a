//! Sections for editors, which ask about code while it is being typed.
//!
//! To complete at the cursor, an editor expands a section twice, as it stands and with a made-up
//! name at the cursor, and looks up in the first what it found in the second, by its place. One may
//! be readable and the other not, so both must be the same up to there: what is emitted here
//! depends on where the clauses begin and on nothing inside of them, and the errors come last.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};

use super::tokens::hidden;
use crate::error::Errors;
use crate::syntax::ast::Keyword;
use crate::target::Target;

/// The user's code as it was written, clause after clause, for the names and types in it alone:
/// nothing runs in an editor.
pub fn editor(clauses: Vec<(Keyword, TokenStream)>, target: &Target, errors: Errors) -> TokenStream {
    let (facade, private) = (&target.facade, &target.private);
    let mut value = hidden!(());
    let mut code = TokenStream::new();
    for (keyword, clause) in clauses {
        let inside = |delimiter| inside(&clause, delimiter);
        let index = || match names(&clause).as_slice() {
            [] => TokenStream::new(),
            [name] => hidden!(let #name: #facade::CpuId;),
            [name, .., kind] => hidden!(let #name: #facade::#kind;),
        };
        code.extend(match keyword {
            Keyword::Prepare => {
                let (index, statements) = (index(), inside(Delimiter::Brace));
                hidden!(#index #statements;)
            }
            Keyword::Critical => {
                let (index, statements) = (index(), typed_loads(inside(Delimiter::Brace), private));
                hidden!(#index #statements;)
            }
            Keyword::Commit => {
                let (index, (place, value)) = (index(), halves(inside(Delimiter::Parenthesis)));
                hidden! {
                    #index
                    let __rseq_target = #private::target(#place);
                    __rseq_target.access().use_raw_pointer();
                    let __rseq_value = __rseq_target.value(#value);
                }
            }
            Keyword::Result => {
                value = hidden!(__rseq_result);
                hidden!(let __rseq_result = (#clause);)
            }
            Keyword::Abort => {
                let (count, statements) = (names(&clause), inside(Delimiter::Brace));
                hidden!({ #(let #count: u32;)* #statements })
            }
        });
    }
    let errors = errors.into_tokens(&TokenStream::new());
    hidden!({ #code #errors; #value })
}

/// The names between bars at the start of a clause: `cpu` and `CpuId` in `|cpu: CpuId|`.
fn names(clause: &TokenStream) -> Vec<Ident> {
    let is_bar = |token: &TokenTree| matches!(token, TokenTree::Punct(bar) if bar.as_char() == '|');
    let mut tokens = clause.clone().into_iter().peekable();
    if tokens.next_if(is_bar).is_none() {
        return Vec::new();
    }
    let between = tokens.take_while(|token| !is_bar(token) && !matches!(token, TokenTree::Group(_)));
    between.filter_map(|token| if let TokenTree::Ident(name) = token { Some(name) } else { None }).collect()
}

/// The tokens in the first such brackets of a clause.
fn inside(clause: &TokenStream, delimiter: Delimiter) -> TokenStream {
    let first = clause.clone().into_iter().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    });
    first.unwrap_or_default()
}

/// The tokens before the first comma, and those behind it.
fn halves(arguments: TokenStream) -> (TokenStream, TokenStream) {
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',');
    let mut tokens = arguments.into_iter();
    let place = tokens.by_ref().take_while(|token| !is_comma(token)).collect();
    (place, tokens.collect())
}

/// A window's statements, in which each `load(place)` is an expression of the type of what is
/// there.
fn typed_loads(statements: TokenStream, private: &TokenStream) -> TokenStream {
    let mut typed = TokenStream::new();
    let mut tokens = statements.into_iter().peekable();
    let is_call =
        |token: &TokenTree| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis);
    while let Some(token) = tokens.next() {
        typed.extend(match token {
            TokenTree::Ident(load) if load == "load" && tokens.peek().is_some_and(is_call) => {
                let place = tokens.next();
                // SAFETY of the expansion: nothing of it runs.
                hidden!(unsafe { #private::target #place.#load() })
            }
            TokenTree::Group(group) => {
                let inside = typed_loads(group.stream(), private);
                let mut typed = Group::new(group.delimiter(), inside);
                typed.set_span(group.span());
                TokenTree::from(typed).into()
            }
            token => token.into(),
        });
    }
    typed
}
