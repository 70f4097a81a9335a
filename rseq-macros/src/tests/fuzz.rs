//! Sections that nobody would write: tokens at random, sections with tokens changed, and sections
//! by the grammar, right and wrong. Whatever it is, the compiler doesn't panic, and what it gives
//! can be read as Rust.
//!
//! `RSEQ_FUZZ_CASES` says how many are tried of each, `RSEQ_FUZZ_SEED` repeats a run.

use std::time::SystemTime;

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use syn::Expr;

use super::{SECTIONS, messages_in, tokens};

/// Tries a property on random values, a number of them that depends on the environment.
fn on_random<S: Strategy>(strategy: &S, property: impl Fn(S::Value)) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let time = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    let (seed, cases) = (number("RSEQ_FUZZ_SEED").unwrap_or_else(time), number("RSEQ_FUZZ_CASES").unwrap_or(250));
    println!("RSEQ_FUZZ_SEED={seed} RSEQ_FUZZ_CASES={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: cases as u32, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let property = |value| {
        property(value);
        Ok(())
    };
    if let Err(failure) = runner.run(strategy, property) {
        panic!("{failure}");
    }
}

/// The expansion of these tokens as they are: their text alone would say nothing of the groups that
/// no one sees.
fn expand(emitter: &str, section: &TokenStream) -> TokenStream {
    let shell = tokens(&format!("[rseq] [{emitter}]"));
    crate::expand(shell.into_iter().chain(section.clone()).collect(), |program, _| program)
}

/// Expands a section in every way. What an editor gets is as half-typed as the section.
fn expands(section: &TokenStream) {
    for emitter in ["x86_64", "x86_64 checked", "none"] {
        let expansion = expand(emitter, section);
        if let Err(error) = syn::parse2::<Expr>(expansion.clone()) {
            panic!("not an expression ({error}): {section}\n{expansion}");
        }
    }
    assert!(!expand("editor", section).is_empty());
}

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "prepare", "critical", "commit", "abort", "load", "store", "store_release", "copy", "add", "sub", "xor", "exit",
    "null", "CpuId", "MmCid", "cpu", "a", "b", "first", "let", "mut", "if", "else", "match", "loop", "while", "for",
    "in", "fn", "return", "break", "continue", "async", "await", "move", "unsafe", "const", "static", "self", "Self",
    "super", "crate", "dyn", "impl", "where", "yield", "try", "union", "_", "raw", "rseq", "format", "vec",
    "macro_rules", "true", "type", "use", "struct", "ref", "as", "über", "commits",
];
const PUNCTUATION: &str = "|=>&*!.,;:+-^<>#?'/%@$~";
#[rustfmt::skip]
const LITERALS: &[&str] = &[
    "0", "1", "7u8", "300u8", "0x7fff_ffff", "2147483648", "9223372036854775808",
    "340282366920938463463374607431768211456", "1.5", "1e999", "0b1", "1_000", "2.0f32", "1suffix", "\"\"",
    "\"{a} {first:?} {:>b$}\"", "\"{{\"", "\"{\"", "r#\"{a\"}\"#", "b\"x\"", "c\"x\"", "'x'", "b'x'", "'\\u{fc}'",
    "\"\\n\\u{1F980}\\\n  x\"", "\"x\"suffix",
];

fn token() -> impl Strategy<Value = TokenTree> {
    let word = select(WORDS).prop_map(|word| TokenTree::from(Ident::new(word, Span::call_site())));
    let raw = select(&["type", "store", "prepare", "a", "match"][..])
        .prop_map(|word| TokenTree::from(Ident::new_raw(word, Span::call_site())));
    let punctuation =
        (select(PUNCTUATION.chars().collect::<Vec<_>>()), any::<bool>()).prop_map(|(character, joint)| {
            TokenTree::from(Punct::new(character, if joint { Spacing::Joint } else { Spacing::Alone }))
        });
    let literal = select(LITERALS).prop_map(|text| TokenTree::from(text.parse::<Literal>().expect("a literal")));
    let leaf = prop_oneof![6 => word, 1 => raw, 6 => punctuation, 2 => literal];
    leaf.prop_recursive(4, 40, 8, |inner| {
        (delimiter(), vec(inner, 0..8)).prop_map(|(delimiter, inside)| group(delimiter, inside))
    })
}

fn delimiter() -> impl Strategy<Value = Delimiter> {
    select(&[Delimiter::Parenthesis, Delimiter::Brace, Delimiter::Bracket, Delimiter::None][..])
}

fn group(delimiter: Delimiter, inside: impl IntoIterator<Item = TokenTree>) -> TokenTree {
    Group::new(delimiter, inside.into_iter().collect()).into()
}

/// A change of one token, wherever it stands.
#[derive(Clone, Debug)]
enum Change {
    Delete,
    Duplicate,
    Swap,
    Replace(TokenTree),
    Insert(TokenTree),
    /// Puts it and what follows into a group.
    Group(Delimiter, usize),
    /// Leaves out the brackets around a group.
    Open,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Delete),
        Just(Change::Duplicate),
        Just(Change::Swap),
        token().prop_map(Change::Replace),
        token().prop_map(Change::Insert),
        (delimiter(), 1..4_usize).prop_map(|(delimiter, count)| Change::Group(delimiter, count)),
        Just(Change::Open),
    ]
}

/// How many tokens there are, groups and those in them.
fn count(stream: &TokenStream) -> usize {
    stream
        .clone()
        .into_iter()
        .map(|token| if let TokenTree::Group(group) = token { 1 + count(&group.stream()) } else { 1 })
        .sum()
}

/// The tokens with a change at one of them, counted as `count` does.
fn changed(stream: TokenStream, mut at: usize, change: &Change) -> TokenStream {
    let mut trees: Vec<TokenTree> = stream.into_iter().collect();
    for number in 0..trees.len() {
        if at == 0 {
            apply(&mut trees, number, change);
            break;
        }
        at -= 1;
        if let TokenTree::Group(inner) = &trees[number] {
            let inside = count(&inner.stream());
            if at < inside {
                trees[number] = group(inner.delimiter(), changed(inner.stream(), at, change));
                break;
            }
            at -= inside;
        }
    }
    trees.into_iter().collect()
}

fn apply(trees: &mut Vec<TokenTree>, at: usize, change: &Change) {
    match change {
        Change::Delete => drop(trees.remove(at)),
        Change::Duplicate => trees.insert(at, trees[at].clone()),
        Change::Swap if at + 1 < trees.len() => trees.swap(at, at + 1),
        Change::Swap => {}
        Change::Replace(token) => trees[at] = token.clone(),
        Change::Insert(token) => trees.insert(at, token.clone()),
        Change::Group(delimiter, count) => {
            let end = trees.len().min(at + count);
            let inside: Vec<TokenTree> = trees.drain(at..end).collect();
            trees.insert(at, group(*delimiter, inside));
        }
        Change::Open => {
            if let TokenTree::Group(group) = &trees[at] {
                let inside = group.stream();
                trees.splice(at..=at, inside);
            }
        }
    }
}

/// The text of one of these, now and then of another that is wrong there.
fn one_of(right: &'static [&'static str], wrong: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop_oneof![60 => select(right), 1 => select(wrong)].prop_map(str::to_owned)
}

fn index() -> impl Strategy<Value = String> {
    one_of(
        &["|cpu|", "|cpu: CpuId|", "|cpu: rseq::MmCid|", "|_cpu|"],
        &["", "|_|", "||", "|cpu", "|cpu: u8|", "|mut cpu|"],
    )
}

fn operand() -> impl Strategy<Value = String> + Clone {
    #[rustfmt::skip]
    const RIGHT: &[&str] = &[
        "v", "w", "v", "w", "(v)", "a", "b.c", "1", "-3", "70_000", "0xffff_ffff_ffff", "7u16", "null", "f(a)?",
        "a + 1", "{ let c = a; c }",
    ];
    one_of(
        RIGHT,
        &["cpu", "v + 1", "f(v)", "load(&a)", "format!(\"{a}\")", "assert!(a, \"{v}\")", "x.await", "break", "|x| v"],
    )
}

fn place() -> impl Strategy<Value = String> + Clone {
    #[rustfmt::skip]
    const RIGHT: &[&str] = &[
        "&a", "a", "&a.b.0", "&SLOTS[cpu]", "&SLOTS[cpu].field", "&SLOTS[cpu].items[v]", "&SLOTS[cpu].items[v].a.b",
        "&(*v).next", "&(*w).items[v]", "&(*w).items[3].x", "&v[w]", "&v[w].field", "&a[w]", "&a[w].field",
        "&(*a)[v].0.1", "v", "&raw mut (*v).field", "&raw const a[v]", "f(a)", "unsafe { &*a }", "&mut a[1]",
        "&OTHER[cpu].field", "&(a[w])",
    ];
    #[rustfmt::skip]
    const WRONG: &[&str] = &[
        "v.field", "(*v).next", "&v.f()", "&(**v).x", "&a[f(v)]", "&(*v).a[1].b[2]", "&SLOTS[cpu.get()]", "&mut v",
        "*v", "&cpu", "cpu",
    ];
    one_of(RIGHT, WRONG)
}

/// An expression at rest, for results and exits.
fn value() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const RIGHT: &[&str] = &[
        "v", "(v, w, a)", "Ok(w)", "format!(\"{v:?} {w:>v$} {a}\")", "match v { 1 => w, abort => abort }",
        "if a { 1 } else { w }", "'l: loop { break 'l v }", "{ let v = w; v }", "return v", "|x| x + v",
        "async move { w.await }", "NonNull::new(v)", "cpu", "Some(cpu)?", "v as u8 as _", "unsafe { *v }",
        "S { v, w: 1 }", "[v; 3]", "&raw const *v", "for v in w { continue }", "a.v", "-v..=w",
    ];
    one_of(RIGHT, &["", "break v", "v w", "=>", "x.await", "let v = 1", "yield v", "continue"])
}

fn exit() -> impl Strategy<Value = String> {
    let comparison = one_of(&["==", "!=", "<", "<=", ">", ">="], &["=", "<<", "&&", "is"]);
    (operand(), comparison, operand(), value())
        .prop_map(|(left, comparison, right, value)| format!("if {left} {comparison} {right} {{ exit {value} }}"))
}

fn step() -> impl Strategy<Value = String> {
    let name = select(&["v", "w", "v: u32", "w: *mut Node", "v: _", "_", "r#type", "null"][..]);
    let operation = one_of(&["+", "-", "&", "|", "^", "<<", ">>"], &["*", "&&", "==", "+ +"]);
    prop_oneof![
        4 => (name.clone(), place()).prop_map(|(name, place)| format!("let {name} = load({place});")),
        4 => (name, operand(), operation, operand())
            .prop_map(|(name, left, operation, right)| format!("let {name} = {left} {operation} {right};")),
        2 => (place(), operand()).prop_map(|(place, operand)| format!("store({place}, {operand});")),
        1 => (place(), place(), operand()).prop_map(|(from, to, length)| format!("copy({from}, {to}, {length});")),
        2 => exit(),
    ]
}

/// No more than there are registers for, mostly.
fn steps() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![20 => vec(step(), 0..6), 2 => vec(step(), 0..40), 1 => vec(exit(), 25..40)]
}

fn statement() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    const RIGHT: &[&str] = &[
        "let a = &SLOTS[cpu];", "let [a, b] = f(a)?;", "if a { return }", "for a in b { continue; }",
        "while f() { break }", "assert!(a > 1, \"{b}\");", "let c = 'l: { break 'l a };", "fn g() { loop { break } }",
        "let f = |x| x;", "break 'outer;", "a;", "use x::y;", "a", "let Some(a) = b else { return };",
    ];
    one_of(
        RIGHT,
        &[
            "v;",
            "break;",
            "println!(\"{a}\");",
            "x.await;",
            "assert!(\"{v}\");",
            "rseq! { commit |_| store(a, b) };",
            "let = 1;",
        ],
    )
}

prop_compose! {
    fn commit()(
        form in one_of(&["store", "store_release", "add", "sub", "and", "or", "xor"], &["swap", "store_seqcst", "", "load"]),
        place in place(),
        value in operand(),
    ) -> String {
        format!("{form}({place}, {value})")
    }
}

prop_compose! {
    /// A section by the grammar, mostly right.
    fn section()(
        steps in steps(),
        prepare in proptest::option::of(vec(statement(), 0..4)),
        index in index(),
        commit in commit(),
        result in proptest::option::of(value()),
        abort in select(&["", "", "abort {}", "abort |n| { if n > 3 { return a } }", "abort { break 'outer }", "abort |v| { v; }", "abort"][..]),
    ) -> String {
        let (mut text, mut index) = (String::new(), Some(index));
        let mut take_index = || index.take().unwrap_or_default();
        if let Some(statements) = prepare {
            text += &format!("prepare {} {{ {} }}\n", take_index(), statements.join(" "));
        }
        // The window starts with the values that its steps use.
        text += &format!("critical {} {{ let v = load(&a); let w = load(&SLOTS[cpu]); {} }}\n", take_index(), steps.join(" "));
        text += &format!("commit {commit}\n");
        text += &result.map(|value| format!("=> {value}\n")).unwrap_or_default();
        text + abort
    }
}

#[test]
fn tokens_at_random() {
    on_random(&vec(token(), 0..30), |trees| expands(&trees.into_iter().collect()));
}

/// The same behind what starts a clause, so that they get further.
#[test]
fn tokens_at_random_in_clauses() {
    #[rustfmt::skip]
    const STARTS: &[&str] = &[
        "prepare |cpu|", "critical |cpu|", "commit |cpu| store", "commit |_| add(&A[cpu], 1) =>",
        "commit |_| store(a, b) abort |n|", "commit |_| store(a, b)", "critical |_| { let v = load(a); if v ==",
    ];
    let inside = (select(STARTS), vec(token(), 0..12), delimiter(), vec(token(), 0..4));
    on_random(&inside, |(start, inside, delimiter, behind)| {
        let (start, inner) = start.split_once('{').map_or((start, ""), |(start, inner)| (start, inner));
        let inside = tokens(inner).into_iter().chain(inside);
        expands(&tokens(start).into_iter().chain([group(delimiter, inside)]).chain(behind).collect());
    });
}

#[test]
fn sections_by_the_grammar() {
    on_random(&section(), |section| expands(&tokens(&section)));
}

#[test]
fn sections_with_tokens_changed() {
    let section = prop_oneof![select(&SECTIONS[..]).prop_map(str::to_owned), section()];
    on_random(&(section, vec((any::<Index>(), change()), 1..4)), |(section, changes)| {
        let mut section = tokens(&section);
        for (at, change) in changes {
            section = match count(&section) {
                0 => break,
                count => changed(section, at.index(count), &change),
            };
        }
        expands(&section);
    });
}

/// Sections of which all are refused at once would try nothing, and neither would sections that are
/// always right.
#[test]
fn the_grammar_reaches_everything() {
    #[rustfmt::skip]
    const STEPS: &[&str] = &[
        "guard:", "= index: CpuId", "= index: MmCid", "publish", "armed, else", "registered, else", "= slot of SLOTS",
        " = &v[", "the place = &[", " = load [", "scratch store ", " + w", " - w", " & w", " | v", " ^ w", " << ",
        " >> ", "copy ", " == ", " != ", " < ", " <= ", " > ", " >= ", ": exit 3", ", release", "+= ", "-= ", "&= ",
        "|= ", "^= ", "relax after", "= aborts so far", "committed:",
    ];
    #[rustfmt::skip]
    const MESSAGES: &[&str] = &[
        "a section has one", "an index is a name", "this `|` has no", "needs a block", "no commit form",
        "for other orders", "one of `add`", "an expression must follow", "ends before this", "a section can't wait",
        "can't yield", "inside a section makes", "without a label", "may make a system call",
        "a value of the window is a", "a window computes with", "an exit compares", "a load is a step",
        "would be evaluated before", "comes after `prepare`", "starts with `&`", "follows one pointer",
        "one element at a time", "behind pointers and indices", "uses its index", "index is read in the window",
        "more values at once", "at most 30 exits",
    ];
    let (mut steps_left, mut messages_left) = (STEPS.to_vec(), MESSAGES.to_vec());
    let (mut tried, mut right) = (0, 0);
    let mut runner = TestRunner::deterministic();
    while tried < 300 || !(steps_left.is_empty() && messages_left.is_empty()) {
        assert!(tried < 5_000, "never reached: {steps_left:?}, {messages_left:?}");
        let section = tokens(&section().new_tree(&mut runner).expect("nothing is filtered").current());
        let mut steps = String::new();
        let shell = tokens("[rseq] [x86_64]");
        let expansion = crate::expand(shell.into_iter().chain(section).collect(), |program, _| {
            steps = program.to_string();
            program
        });
        let messages = messages_in(expansion);
        steps_left.retain(|part| !steps.contains(part));
        messages_left.retain(|part| !messages.iter().any(|message| message.contains(part)));
        (tried, right) = (tried + 1, right + usize::from(messages.is_empty()));
    }
    println!("{right} of {tried} sections are right");
    assert!((tried / 5..tried * 4 / 5).contains(&right));
}
