//! Parses clause by clause. After a mistake it goes on with the next clause, so that all mistakes
//! are found at once.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Block, Expr, Ident, Result, Token, parenthesized, token};

use super::ast::{Abort, Clause, ClauseKind, Commit, Form, Index, Keyword, Operation, Order};
use super::parts::{arguments, braces, name};
use super::step;
use super::text::{found, on_one_line};
use crate::error::{self, Errors};

/// The clauses in the order in which they stand.
pub fn parse(tokens: TokenStream, errors: &mut Errors) -> Vec<Clause> {
    let parser = |input: ParseStream<'_>| Ok(clauses(input, errors));
    // The parser takes every token and never fails, so there is no error here.
    parser.parse2(tokens).unwrap_or_default()
}

fn clauses(input: ParseStream<'_>, errors: &mut Errors) -> Vec<Clause> {
    let mut clauses = Vec::new();
    while !input.is_empty() {
        match start(input) {
            Some((keyword, span)) => {
                let kind = clause(keyword, span, input, errors).unwrap_or_else(|error| {
                    errors.push(error);
                    skip_to_clause(input);
                    ClauseKind::Broken(keyword)
                });
                clauses.push(Clause { keyword: span, kind });
            }
            None => {
                let keyword = input.span();
                if input.peek(Token![;]) || input.peek(Token![,]) {
                    errors.at(keyword, error::SEPARATOR);
                } else {
                    errors.at(keyword, error::no_clause(&found(input)));
                    clauses.push(Clause { keyword, kind: ClauseKind::Unknown });
                }
                skip_to_clause(input);
            }
        }
    }
    clauses
}

/// The clauses as they were written, half-typed ones too: whatever stands behind each keyword.
pub fn split(tokens: TokenStream) -> Vec<(Keyword, TokenStream)> {
    let parser = |input: ParseStream<'_>| {
        let mut clauses = Vec::new();
        while !input.is_empty() {
            let Some((keyword, _)) = start(input) else {
                input.parse::<TokenTree>()?;
                continue;
            };
            let mut written = TokenStream::new();
            while !input.is_empty() && !starts_clause_after_expression(input) {
                written.extend([input.parse::<TokenTree>()?]);
            }
            clauses.push((keyword, written));
        }
        Ok(clauses)
    };
    // The parser takes every token and never fails, so there is no error here.
    parser.parse2(tokens).unwrap_or_default()
}

/// Takes the keyword of a clause.
fn start(input: ParseStream<'_>) -> Option<(Keyword, Span)> {
    let keyword = peek(input)?;
    let span = input.span();
    match keyword {
        Keyword::Result => input.parse::<Token![=>]>().is_ok(),
        _ => input.call(Ident::parse_any).is_ok(),
    }
    .then_some((keyword, span))
}

fn peek(input: ParseStream<'_>) -> Option<Keyword> {
    if input.peek(Token![=>]) {
        return Some(Keyword::Result);
    }
    Keyword::from_word(&input.fork().call(Ident::parse_any).ok()?)
}

/// Passes over what belongs to no clause.
fn skip_to_clause(input: ParseStream<'_>) {
    while !input.is_empty() && peek(input).is_none() && input.parse::<TokenTree>().is_ok() {}
}

fn clause(keyword: Keyword, span: Span, input: ParseStream<'_>, errors: &mut Errors) -> Result<ClauseKind> {
    Ok(match keyword {
        Keyword::Prepare => ClauseKind::Prepare { index: index(input, errors)?, body: block(keyword, span, input)? },
        Keyword::Critical => {
            let index = index(input, errors)?;
            let (steps, whole) = step::steps(body(keyword, span, input)?, errors);
            ClauseKind::Critical { index, steps, whole }
        }
        Keyword::Commit => ClauseKind::Commit { index: index(input, errors)?, commit: commit(span, input)? },
        Keyword::Result => ClauseKind::Result(result(span, input)?),
        Keyword::Abort => ClauseKind::Abort(Abort { count: count(input)?, body: block(keyword, span, input)? }),
    })
}

/// `|name|` or `|name: Kind|`, if it is there.
fn index(input: ParseStream<'_>, errors: &mut Errors) -> Result<Option<Index>> {
    let Some(inside) = between_bars(input)? else { return Ok(None) };
    let parser = |input: ParseStream<'_>| {
        let name = name(input)?;
        let kind = if input.is_empty() {
            None
        } else {
            input.parse::<Token![:]>()?;
            Some(input.parse::<syn::Path>()?)
        };
        Ok((name, kind))
    };
    let (name, path) = at_own_tokens(parser, inside, error::INDEX)?;
    let kind = path.and_then(|path| path.segments.last().map(|segment| segment.ident.clone()));
    match kind {
        Some(kind) if kind != "CpuId" && kind != "MmCid" => {
            errors.at(kind.span(), error::INDEX);
            Ok(Some(Index { name, kind: None }))
        }
        kind => Ok(Some(Index { name, kind })),
    }
}

/// `|n|`, if it is there.
fn count(input: ParseStream<'_>) -> Result<Option<Ident>> {
    between_bars(input)?.map(|inside| at_own_tokens(name, inside, error::COUNT)).transpose()
}

/// The opening bar's span and the tokens up to the closing one.
fn between_bars(input: ParseStream<'_>) -> Result<Option<(Span, TokenStream)>> {
    let open = input.span();
    if input.peek(Token![||]) {
        input.parse::<Token![||]>()?;
        return Ok(Some((open, TokenStream::new())));
    }
    if !input.peek(Token![|]) {
        return Ok(None);
    }
    input.parse::<Token![|]>()?;
    let mut inside = TokenStream::new();
    while !input.peek(Token![|]) {
        if input.is_empty() || input.peek(token::Brace) {
            return Err(syn::Error::new(open, error::OPEN_BAR));
        }
        inside.extend([input.parse::<TokenTree>()?]);
    }
    input.parse::<Token![|]>()?;
    Ok(Some((open, inside)))
}

/// Parses all of `inside`; a failure is reported as `message`, on those tokens or on the bar before
/// them.
fn at_own_tokens<T>(
    parser: impl FnOnce(ParseStream<'_>) -> Result<T>,
    (open, inside): (Span, TokenStream),
    message: &str,
) -> Result<T> {
    let tokens = inside.clone();
    parser.parse2(inside).map_err(|_| {
        if tokens.is_empty() { syn::Error::new(open, message) } else { syn::Error::new_spanned(tokens, message) }
    })
}

fn block(keyword: Keyword, span: Span, input: ParseStream<'_>) -> Result<Block> {
    // As one token first: a mistake inside leaves the clauses behind it readable.
    syn::parse2(TokenTree::from(body(keyword, span, input)?).into())
}

/// The braces of a clause.
fn body(keyword: Keyword, span: Span, input: ParseStream<'_>) -> Result<Group> {
    if !input.peek(token::Brace) {
        return Err(syn::Error::new(span, error::no_block(keyword.word())));
    }
    braces(input)
}

fn commit(clause: Span, input: ParseStream<'_>) -> Result<Commit> {
    if !input.peek(Ident::peek_any) {
        let at = if input.is_empty() { clause } else { input.span() };
        return Err(syn::Error::new(at, error::FORM));
    }
    let name = input.call(Ident::parse_any)?;
    let form = match name.to_string().as_str() {
        "store" => Form::Store(Order::Relaxed),
        "store_release" => Form::Store(Order::Release),
        "add" => Form::Update(Operation::Add),
        "sub" => Form::Update(Operation::Sub),
        "and" => Form::Update(Operation::And),
        "or" => Form::Update(Operation::Or),
        "xor" => Form::Update(Operation::Xor),
        "store_seqcst" | "store_relaxed" | "store_acquire" => return Err(syn::Error::new(name.span(), error::RELEASE)),
        other => return Err(syn::Error::new(name.span(), error::unknown_form(other))),
    };
    let text = format!("{name}{}", source(input));
    let [place, value] = arguments(&name, input, error::ONE_PLACE_ONE_VALUE)?;
    Ok(Commit { text, form, place, value })
}

/// The text of the token that comes next, on one line: as in the source, where that is known.
fn source(input: ParseStream<'_>) -> String {
    let Some((token, _)) = input.cursor().token_tree() else { return String::new() };
    on_one_line(&token.span().source_text().unwrap_or_else(|| token.to_string()))
}

/// The expression after `=>`: everything up to an `abort` clause, or whatever else starts a clause.
fn result(arrow: Span, input: ParseStream<'_>) -> Result<Expr> {
    let mut tokens = TokenStream::new();
    let mut last = None;
    let mut block_to_come = false;
    while !input.is_empty() && (block_to_come || !starts_clause_after_expression(input)) {
        let token = input.parse::<TokenTree>()?;
        last = Some(token.span());
        block_to_come = match &token {
            // In `match abort { .. }` the word is a name.
            TokenTree::Ident(word) if word == "match" || word == "if" || word == "while" => true,
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => false,
            _ => block_to_come,
        };
        tokens.extend([token]);
    }
    let Some(last) = last else { return Err(syn::Error::new(arrow, error::NO_RESULT)) };
    // In parentheses of that span: an expression that is cut off is reported at its last token.
    let mut group = Group::new(Delimiter::Parenthesis, tokens);
    group.set_span(last);
    (|input: ParseStream<'_>| {
        let inside;
        parenthesized!(inside in input);
        let result = inside.parse()?;
        if inside.is_empty() { Ok(result) } else { Err(inside.error(error::AFTER_RESULT)) }
    })
    .parse2(TokenTree::from(group).into())
}

/// A keyword, followed by what follows it in a clause: an expression may use the word as a name.
fn starts_clause_after_expression(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    match start(&ahead) {
        Some((Keyword::Result, _)) => true,
        Some((Keyword::Commit, _)) => ahead.peek(Token![|]) || ahead.peek(Ident::peek_any),
        Some(_) => ahead.peek(Token![|]) || ahead.peek(Token![||]) || ahead.peek(token::Brace),
        None => false,
    }
}
