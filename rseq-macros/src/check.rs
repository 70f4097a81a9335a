//! The rules for a section beyond its syntax. Everything wrong is reported, not only the first
//! thing.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprAsync, ExprAwait, ExprBreak, ExprClosure, ExprContinue, ExprYield, Item, Macro};

use crate::error::{self, Errors};
use crate::syntax::ast::{Clause, ClauseKind, Index, Keyword, Section, Step};

/// Macros that print, format or allocate.
const UNFIT_FOR_PREPARE: &[&str] =
    &["print", "println", "eprint", "eprintln", "dbg", "format", "vec", "write", "writeln", "format_args"];

/// The section that the clauses make up, if rustc can make something of it. It may be wrong all the
/// same.
pub fn section(clauses: Vec<Clause>, errors: &mut Errors) -> Option<Section> {
    let in_order = order(&clauses, errors);
    let mut whole = in_order && clauses.iter().all(|clause| clause.kind.is_whole());
    let start = clauses.first().map_or_else(Span::call_site, |clause| clause.keyword);
    let mut first = true;
    let (mut index, mut prepare, mut steps, mut commit, mut result, mut abort) =
        (None, None, Vec::new(), None, None, None);
    for clause in clauses {
        let known = clause.kind.keyword().is_some();
        let mut take_index = |named: Option<Index>, errors: &mut Errors| {
            if let Some(named) = named {
                if in_order && !first {
                    errors.at(named.name.span(), error::INDEX_PLACE);
                }
                index = Some(named);
            }
        };
        match clause.kind {
            ClauseKind::Prepare { index: named, body } => {
                whole &= code(&body, Part::Armed, errors);
                take_index(named, errors);
                prepare = Some(body);
            }
            ClauseKind::Critical { index: named, steps: written, .. } => {
                for step in &written {
                    whole &= self::step(step, errors);
                }
                take_index(named, errors);
                steps = written;
            }
            ClauseKind::Commit { index: named, commit: written } => {
                whole &= code(&written.place, Part::Armed, errors) & code(&written.value, Part::Armed, errors);
                take_index(named, errors);
                commit = Some(written);
            }
            ClauseKind::Result(value) => {
                whole &= code(&value, Part::AtRest, errors);
                result = Some(value);
            }
            ClauseKind::Abort(written) => {
                whole &= code(&written.body, Part::AtRest, errors);
                abort = Some(written);
            }
            ClauseKind::Broken(_) | ClauseKind::Unknown => {}
        }
        first &= !known;
    }
    if whole && index.is_none() {
        errors.at(start, error::NO_INDEX);
    }
    commit.filter(|_| whole).map(|commit| Section { start, index, prepare, steps, commit, result, abort })
}

/// Reports what the expressions of a step can't do; says whether rustc can read them.
fn step(step: &Step, errors: &mut Errors) -> bool {
    let (armed, at_rest) = match step {
        Step::Load { place, .. } => (vec![place], None),
        Step::Compute { left, right, .. } => (vec![left, right], None),
        Step::Store { place, value } => (vec![place, value], None),
        Step::Copy { from, to, length } => (vec![from, to, length], None),
        Step::Exit { left, right, value, .. } => (vec![left, right], Some(value)),
    };
    let mut readable = true;
    for code in armed {
        readable &= self::code(code, Part::Armed, errors);
    }
    if let Some(code) = at_rest {
        readable &= self::code(code, Part::AtRest, errors);
    }
    readable
}

/// Each clause at most once, in their order, and a commit among them: says whether it is so.
fn order(clauses: &[Clause], errors: &mut Errors) -> bool {
    let mut seen: Vec<Keyword> = Vec::new();
    let mut latest: Option<Keyword> = None;
    let mut right = true;
    for Clause { keyword: span, kind } in clauses {
        let Some(keyword) = kind.keyword() else { continue };
        let later = latest.filter(|later| *later > keyword);
        if seen.contains(&keyword) {
            match keyword {
                Keyword::Commit => errors.at(*span, error::TWO_COMMITS),
                other => errors.at(*span, error::twice(other.word())),
            }
            right = false;
        } else if let Some(later) = later {
            errors.at(*span, error::order(keyword.word(), later.word()));
            right = false;
        }
        seen.push(keyword);
        // A broken clause may not be what it was meant to be.
        if kind.is_whole() {
            latest = latest.max(Some(keyword));
        }
    }
    if seen.contains(&Keyword::Commit) {
        return right;
    }
    // An unknown clause may be a commit with a mistake in its name.
    if clauses.iter().all(|clause| clause.kind.keyword().is_some()) {
        errors.at(clauses.last().map_or_else(Span::call_site, |clause| clause.keyword), error::NO_COMMIT);
    }
    false
}

/// When a piece of the user's code runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// With the descriptor armed.
    Armed,
    /// With nothing armed.
    AtRest,
}

/// A piece of ordinary Rust in a section.
trait Code: ToTokens {
    fn visit(&self, visitor: &mut Visitor<'_>);
}

impl Code for Block {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.visit_block(self);
    }
}

impl Code for Expr {
    fn visit(&self, visitor: &mut Visitor<'_>) {
        visitor.visit_expr(self);
    }
}

/// Reports what the code can't do; says whether rustc can read it.
fn code(code: &impl Code, part: Part, errors: &mut Errors) -> bool {
    let mut visitor = Visitor { part, loops: 0, readable: true, errors };
    code.visit(&mut visitor);
    visitor.readable
}

/// Looks for what ordinary Rust in a section can't do.
struct Visitor<'e> {
    part: Part,
    /// How many of the user's own loops surround the place that is visited.
    loops: u32,
    /// False once rustc has a mistake of syntax to find.
    readable: bool,
    errors: &'e mut Errors,
}

impl Visitor<'_> {
    fn jump(&mut self, span: Span, word: &str, labelled: bool) {
        if !labelled && self.loops == 0 {
            self.errors.at(span, error::unlabelled(word));
        }
    }

    fn in_loop(&mut self, visit: impl FnOnce(&mut Self)) {
        self.loops += 1;
        visit(self);
        self.loops -= 1;
    }

    /// Code of its own, where `break` has nothing to do with the loops outside.
    fn apart(&mut self, visit: impl FnOnce(&mut Self)) {
        let loops = std::mem::replace(&mut self.loops, 0);
        visit(self);
        self.loops = loops;
    }

    /// A macro that may not be called is known by its name.
    fn macro_name(&mut self, name: &syn::Ident) {
        if self.part == Part::AtRest {
            return;
        }
        if name == "rseq" {
            self.errors.at(name.span(), error::NESTED);
        } else if UNFIT_FOR_PREPARE.iter().any(|unfit| name == unfit) {
            self.errors.at(name.span(), error::macro_in_prepare(&name.to_string()));
        }
    }

    /// The arguments of a macro, which need not be Rust: what can be told are the macros called and
    /// the awaits in them.
    fn macro_arguments(&mut self, tokens: TokenStream) {
        let mut before: [Option<TokenTree>; 2] = [None, None];
        for token in tokens {
            match (&before, &token) {
                ([Some(TokenTree::Ident(name)), Some(TokenTree::Punct(bang))], TokenTree::Group(_))
                    if bang.as_char() == '!' =>
                {
                    self.macro_name(name);
                }
                ([_, Some(TokenTree::Punct(dot))], TokenTree::Ident(word))
                    if dot.as_char() == '.' && word == "await" =>
                {
                    self.errors.at(word.span(), error::AWAIT);
                }
                _ => {}
            }
            if let TokenTree::Group(group) = &token
                && !is_async(&before)
            {
                self.macro_arguments(group.stream());
            }
            let [_, last] = before;
            before = [last, Some(token)];
        }
    }
}

/// A block behind these tokens is a future, which is not awaited here.
fn is_async(before: &[Option<TokenTree>; 2]) -> bool {
    let is = |token: &Option<TokenTree>, word| matches!(token, Some(TokenTree::Ident(ident)) if ident == word);
    is(&before[1], "async") || (is(&before[0], "async") && is(&before[1], "move"))
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_expr_await(&mut self, node: &'ast ExprAwait) {
        self.errors.at(node.await_token.span, error::AWAIT);
        visit::visit_expr_await(self, node);
    }

    fn visit_expr_yield(&mut self, node: &'ast ExprYield) {
        self.errors.at(node.yield_token.span, error::YIELD);
        self.readable = false;
        visit::visit_expr_yield(self, node);
    }

    fn visit_expr_break(&mut self, node: &'ast ExprBreak) {
        self.jump(node.break_token.span, "break", node.label.is_some());
        // rustc would refuse the value as well.
        self.readable &= node.label.is_some() || node.expr.is_none() || self.loops > 0;
        visit::visit_expr_break(self, node);
    }

    fn visit_expr_continue(&mut self, node: &'ast ExprContinue) {
        self.jump(node.continue_token.span, "continue", node.label.is_some());
    }

    fn visit_expr_loop(&mut self, node: &'ast syn::ExprLoop) {
        self.in_loop(|this| visit::visit_expr_loop(this, node));
    }

    fn visit_expr_while(&mut self, node: &'ast syn::ExprWhile) {
        self.in_loop(|this| visit::visit_expr_while(this, node));
    }

    fn visit_expr_for_loop(&mut self, node: &'ast syn::ExprForLoop) {
        // The iterator of a loop is evaluated outside of it.
        self.visit_expr(&node.expr);
        self.in_loop(|this| this.visit_block(&node.body));
    }

    fn visit_expr_closure(&mut self, node: &'ast ExprClosure) {
        // In an `async` closure the awaits are its own.
        if node.asyncness.is_none() {
            self.apart(|this| visit::visit_expr_closure(this, node));
        }
    }

    fn visit_expr_async(&mut self, _: &'ast ExprAsync) {
        // A future made here is not awaited here.
    }

    fn visit_item(&mut self, node: &'ast Item) {
        self.apart(|this| visit::visit_item(this, node));
    }

    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        // In an `async fn` the awaits are its own.
        if node.sig.asyncness.is_none() {
            visit::visit_item_fn(self, node);
        }
    }

    fn visit_macro(&mut self, node: &'ast Macro) {
        if let Some(segment) = node.path.segments.last() {
            self.macro_name(&segment.ident);
        }
        self.macro_arguments(node.tokens.clone());
    }
}
