//! The compiler without a compiler around it: what sections are lowered to, what they expand to,
//! and that no input makes it panic.

mod fuzz;

use std::panic::catch_unwind;

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;
use syn::Expr;
use syn::visit::Visit;

use crate::emit::arch;
use crate::error::Errors;
use crate::ir::{Access, Program, Step};
use crate::{allocate, check, lower, resolve, syntax};

const COUNTER: &str = "
    prepare |cpu| {
        let slot = &HITS[cpu];
        let next = slot.load(Relaxed) + 1;
    }
    commit store(slot, next)
";

const EVERY_CLAUSE: &str = "
    prepare |cpu: CpuId| {
        let slot = &SOLD[cpu];
        if slot.load(Relaxed) == most { return Err(SoldOut) }
        let number = slot.load(Relaxed) + 1;
    }
    commit store_release(slot, number)
    => Ok(number)
    abort |n| { if n > 100 { return Err(Busy) } }
";

const ONLY_A_COMMIT: &str = "commit |_| store(place, 1) abort { tries += 1; }";

const PURE_COUNTER: &str = "commit |cpu| add(&HITS[cpu], 1)";

const LIST_POP: &str = "
    critical |cpu| {
        let first = load(&LISTS[cpu]);
        if first == null { exit None }
        let rest = load(&(*first).next);
    }
    commit store(&LISTS[cpu], rest)
    => NonNull::new(first)
";

const EVERY_STEP: &str = "
    prepare |cid: MmCid| { let ring = &RINGS[cid]; }
    critical {
        let head: usize = load(&ring.head);
        let tail = load(&ring.tail);
        let used = head - tail;
        if used >= 16 { exit false }
        let at = head & 15;
        let shifted = at << 1;
        let entry = load(&ring.entries[shifted]);
        store(&(*entry).word, 7);
        copy(from, &raw mut (*entry).bytes[3].inner, 8);
        let next = 1 + head;
    }
    commit store_release(&ring.head, next)
    => (used, entry)
";

const SECTIONS: [&str; 6] = [COUNTER, EVERY_CLAUSE, ONLY_A_COMMIT, PURE_COUNTER, LIST_POP, EVERY_STEP];

fn tokens(text: &str) -> TokenStream {
    text.parse().expect("every test's text has its brackets in pairs")
}

/// The expansion for an emitter.
fn expand(emitter: &str, section: &str) -> TokenStream {
    crate::expand(tokens(&format!("[rseq] [{emitter}] {section}")), |program, _| program)
}

/// The expansion as one would have written it by hand.
fn pretty(emitter: &str, section: &str) -> String {
    let expansion = expand(emitter, section);
    let file = syn::parse2(quote!(fn expansion() { #expansion })).expect("expansions are expressions");
    prettyplease::unparse(&file)
}

/// The steps of a section, as `RSEQ_PRINT=1` prints them.
fn steps(section: &str) -> String {
    lowered(section).to_string()
}

fn lowered(section: &str) -> Program {
    let mut errors = Errors::default();
    let clauses = syntax::parse(tokens(section), &mut errors);
    let section = check::section(clauses, &mut errors).expect("the section is whole");
    let window = resolve::window(&section, &mut errors).expect("every name of its window means something");
    assert!(errors.is_empty(), "the section is right");
    lower::program(section, window, false, false)
}

/// The messages that a section is refused with, in order.
fn messages(section: &str) -> Vec<String> {
    messages_in(expand("x86_64", section))
}

fn messages_in(expansion: TokenStream) -> Vec<String> {
    let mut messages = Vec::new();
    let mut after_compile_error = false;
    for token in expansion {
        if let TokenTree::Group(group) = &token {
            if after_compile_error {
                let message = syn::parse2::<syn::LitStr>(group.stream()).expect("a message is a string");
                messages.push(message.value());
            } else {
                messages.extend(messages_in(group.stream()));
            }
        }
        after_compile_error = match &token {
            TokenTree::Ident(name) => name == "compile_error",
            TokenTree::Punct(bang) => after_compile_error && bang.as_char() == '!',
            _ => false,
        };
    }
    messages
}

#[test]
fn steps_of_a_counter() {
    assert_eq!(
        steps(COUNTER),
        "section \n\
         \x20   guard: disarm on every way out\n\
         \x20   arm\n\
         \x20   cpu = index\n\
         \x20   prepare { let slot = & HITS [cpu] ; let next = slot . load (Relaxed) + 1 ; }\n\
         \x20   evaluate slot\n\
         \x20   evaluate next\n\
         \x20   publish\n\
         start:\n\
         \x20   armed, else to aborted\n\
         \x20   store next to [slot]\n\
         post:\n\
         \x20   disarm\n\
         aborted:\n\
         \x20   relax after a run of aborts, then start again\n\
         committed:\n\
         \x20   ()"
    );
}

#[test]
fn steps_of_every_clause() {
    assert_eq!(
        steps(EVERY_CLAUSE),
        "section \n\
         \x20   guard: disarm on every way out\n\
         \x20   arm\n\
         \x20   cpu = index: CpuId\n\
         \x20   prepare { let slot = & SOLD [cpu] ; if slot . load (Relaxed) == most { return Err (SoldOut) } \
         let number = slot . load (Relaxed) + 1 ; }\n\
         \x20   evaluate slot\n\
         \x20   evaluate number\n\
         \x20   publish\n\
         start:\n\
         \x20   armed, else to aborted\n\
         \x20   store number to [slot], release\n\
         post:\n\
         \x20   disarm\n\
         aborted:\n\
         \x20   n = aborts so far; { if n > 100 { return Err (Busy) } }, then start again\n\
         committed:\n\
         \x20   Ok (number)"
    );
}

#[test]
fn steps_of_a_commit_alone() {
    assert_eq!(
        steps(ONLY_A_COMMIT),
        "section \n\
         \x20   evaluate place\n\
         \x20   arm\n\
         start:\n\
         \x20   registered, else to aborted\n\
         \x20   store 1 to [place]\n\
         post:\n\
         \x20   disarm\n\
         aborted:\n\
         \x20   { tries += 1 ; }, then start again\n\
         committed:\n\
         \x20   ()"
    );
}

#[test]
fn steps_of_a_counter_that_is_all_window() {
    assert_eq!(
        steps(PURE_COUNTER),
        "section \n\
         \x20   evaluate HITS\n\
         \x20   arm\n\
         start:\n\
         \x20   HITS[..] = slot of HITS, else to aborted\n\
         \x20   [HITS[..]] += 1\n\
         post:\n\
         \x20   disarm\n\
         aborted:\n\
         \x20   relax after a run of aborts, then start again\n\
         committed:\n\
         \x20   ()"
    );
}

#[test]
fn steps_of_a_list_pop() {
    assert_eq!(
        steps(LIST_POP),
        "section \n\
         \x20   evaluate LISTS\n\
         \x20   arm\n\
         start:\n\
         \x20   LISTS[..] = slot of LISTS, else to aborted\n\
         \x20   first = load [LISTS[..]]\n\
         \x20   if first == 0: exit 0\n\
         \x20   rest = load [first + the distance of a field]\n\
         \x20   store rest to [LISTS[..]]\n\
         post:\n\
         \x20   disarm\n\
         aborted:\n\
         \x20   relax after a run of aborts, then start again\n\
         committed:\n\
         \x20   NonNull :: new (first)"
    );
}

#[test]
fn steps_of_every_step() {
    let steps = steps(EVERY_STEP);
    let window = steps.split_once("start:\n").and_then(|(_, rest)| rest.split_once("post:")).expect("a window").0;
    let lines: Vec<_> = window.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "armed, else to aborted",
            "head = load [& ring . head]",
            "tail = load [& ring . tail]",
            "used = head - tail",
            "if used >= 16: exit 0",
            "at = head & 15",
            "shifted = at << 1",
            "an element's address = &ring . entries[shifted]",
            "entry = load [an element's address]",
            "scratch store 7 to [entry + the distance of a field]",
            "an element's address = &entry[3]",
            "copy 8 bytes from [from] to [an element's address + the distance of a field]",
            "next = head + 1",
            "store next to [& ring . head], release",
        ]
    );
}

/// Registers are used again once what they hold has been read for the last time.
#[test]
fn registers_are_shared() {
    let chain: String = (0..40).map(|number| format!("let v{} = v{number} + 1;", number + 1)).collect();
    let section = format!("critical |_| {{ let v0 = load(place); {chain} }} commit store(place, v40)");
    let program = lowered(&section);
    let allocation = allocate::scan(&program, 3).ok().expect("the area, the place and one value");
    assert_eq!(allocation.contents.len(), 3);
}

/// Two registers never share one of the machine while both hold something that is still to be read.
#[test]
fn registers_are_not_shared_too_early() {
    for section in [COUNTER, EVERY_CLAUSE, PURE_COUNTER, LIST_POP, EVERY_STEP] {
        let program = lowered(section);
        let allocation = allocate::scan(&program, 100).ok().expect("enough");
        let mut holds = allocation.contents.map(|register| allocation.contents[register].input);
        for step in &program.steps {
            for (register, access) in step.registers() {
                if access == Access::Written {
                    holds[allocation.of[register]] = Some(register);
                }
                assert_eq!(holds[allocation.of[register]], Some(register), "{section}");
            }
        }
        for (_, register) in &program.outputs {
            assert_eq!(holds[allocation.of[*register]], Some(*register), "{section}");
        }
    }
}

/// The parser, the checks and the lowering know the protocol; machines are the emitters'
/// business.
#[test]
fn no_machine_outside_of_the_emitters() {
    const SOURCES: [(&str, &str); 15] = [
        ("allocate.rs", include_str!("allocate.rs")),
        ("check.rs", include_str!("check.rs")),
        ("frame.rs", include_str!("frame.rs")),
        ("ids.rs", include_str!("ids.rs")),
        ("ir.rs", include_str!("ir.rs")),
        ("lower.rs", include_str!("lower.rs")),
        ("names.rs", include_str!("names.rs")),
        ("resolve.rs", include_str!("resolve.rs")),
        ("target.rs", include_str!("target.rs")),
        ("syntax/ast.rs", include_str!("syntax/ast.rs")),
        ("syntax/mod.rs", include_str!("syntax/mod.rs")),
        ("syntax/parse.rs", include_str!("syntax/parse.rs")),
        ("syntax/parts.rs", include_str!("syntax/parts.rs")),
        ("syntax/step.rs", include_str!("syntax/step.rs")),
        ("syntax/text.rs", include_str!("syntax/text.rs")),
    ];
    for (file, source) in SOURCES {
        let words = source.lines().flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
        for word in words {
            for (name, words) in arch::all() {
                assert!(!words.contains(&word), "{file} mentions {name}'s `{word}`");
            }
        }
    }
}

#[test]
fn without_an_emitter_there_is_no_asm() {
    for section in SECTIONS {
        assert!(!pretty("none", section).contains("asm!"));
        assert_eq!(pretty("x86_64", section).matches("asm!").count(), 1);
    }
    assert_eq!(pretty("an_architecture_of_tomorrow", COUNTER), pretty("none", COUNTER));
}

/// The steps that are ordinary Rust stand in the order of the protocol, and the commit block after
/// them.
#[test]
fn expansions_keep_the_order_of_the_steps() {
    let expansion = pretty("x86_64", EVERY_CLAUSE);
    let steps = [
        "::enter()",
        "let cpu: rseq::CpuId",
        "let slot = &SOLD[cpu];",
        "return Err(SoldOut)",
        "::target(slot)",
        ".use_raw_pointer()",
        ".value(number)",
        "Ordering::Release",
        "asm!",
        ".aborted(",
        "return Err(Busy)",
        "Ok(number)",
    ];
    let places: Vec<_> = steps.iter().map(|step| expansion.find(step).unwrap_or_else(|| panic!("no {step}"))).collect();
    assert!(places.is_sorted(), "{expansion}");
}

#[test]
fn only_what_is_used_is_expanded() {
    let plain = pretty("none", COUNTER);
    assert!(!plain.contains("aborts"), "nobody asks for the number of aborts");
    assert!(!pretty("none", ONLY_A_COMMIT).contains("aborts"));
    assert!(!pretty("none", "commit |_| store(place, 1)").contains("::index("));
    assert!(plain.contains("Ordering::Relaxed") && !plain.contains("Ordering::Release"));
}

/// `prepare`'s last expression is a statement like the others: what follows it is not its argument.
#[test]
fn a_trailing_expression_gets_its_semicolon() {
    for last in ["call()", "if much { 1 } else { 2 }", "assert!(much)", "assert! { much }", "{ call() }", "return"] {
        let expansion = expand("none", &format!("prepare |_| {{ let kept = 1; {last} }} commit store(place, kept)"));
        assert!(expansion.to_string().contains(&format!("{} ;", tokens(last))), "after {last}");
    }
}

#[test]
fn every_mistake_is_reported() {
    let messages = messages(
        "finally {}
         prepare |cpu: NodeId| { println!(\"{cpu}\"); break; }
         commit |cpu| store(slot)
         abort |1| { continue }",
    );
    let expected =
        ["`finally`", "`|cid: MmCid|`", "a place and a value", "the number of aborts", "`println!`", "this `break`"];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, part) in messages.iter().zip(expected) {
        assert!(message.contains(part), "{message:?} instead of {part:?}");
    }
}

/// A mistake that is told once isn't told again by what follows from it.
#[test]
fn one_mistake_is_one_message() {
    for section in [
        "",
        "prepare |_| { let one = 1; }",
        "comit store(place, 1)",
        "prepare |cpu| commit store(place, 1)",
        "commit |_| store(place, 1) abort => 1",
        "abort {} commit store(place, 1)",
        "commit |_| store(place, 1) prepare |cpu| { let slot = &HITS[cpu]; }",
        "prepare |_| { let = 1; } commit store(place, 1)",
        "prepare |cpu { let one = 1; } commit store(place, one)",
        "commit |_| store(place, 1) => 1 +",
        "critical |_| { let one = ; } commit store(place, one)",
        "critical |_| { let one = load(place); let two = one * 2; } commit store(place, one)",
        "critical |_| { let one = load(place); } commit store(place, one + 1)",
        "prepare |_| { one; } critical { let one = load(place); } commit store(place, one)",
        "prepare |_| {} commit |cpu| store(&HITS[cpu], 1)",
        "commit |cpu| swap(&HITS[cpu], 1)",
        "prepare |_| { dbg!(1); } commit store(place, 1)",
        "commit |_| store(place, 1);",
    ] {
        assert_eq!(messages(section).len(), 1, "{section}");
    }
}

/// Where the user's code is whole, a refused section still contains it: for the names in it, and
/// for editors.
#[test]
fn refused_sections_keep_the_code_that_is_whole() {
    let refused = pretty("x86_64", "prepare |_| { dbg!(1); } commit store(place, 1) => done abort { break }");
    assert!(refused.contains("while false") && refused.contains("place") && refused.contains("done"));
    assert!(!refused.contains("asm!") && !refused.contains("'retry"));
    let refused = pretty("x86_64", "prepare |_| { let one = ; } commit store(place, one)");
    assert!(!refused.contains("place"), "a name that isn't bound would be a second mistake");
}

/// Arguments of a macro that look like a mistake but are none.
#[test]
fn arguments_of_macros_are_read_with_care() {
    for fine in [
        "assert!(format != 3)",
        "assert!(vec == other, \"format!\")",
        "id!(async { later.await })",
        "id!(async move { later.await })",
        "repeat!(loop { break })",
        "assert!(!(dbg))",
    ] {
        let section = format!("prepare |_| {{ {fine}; }} commit store(place, 1)");
        assert_eq!(messages(&section), Vec::<String>::new(), "{fine}");
    }
    for wrong in [
        "assert!(format!(\"{x}\").is_empty())",
        "assert!([vec![1]].len() == 1)",
        "id!(later.await)",
        "id!({ id!(later.await) })",
        "id!(rseq! { commit |_| store(place, 1) })",
    ] {
        assert_eq!(messages(&format!("prepare |_| {{ {wrong}; }} commit store(place, 1)")).len(), 1, "{wrong}");
    }
}

/// Words of the grammar are names like others where no clause can start.
#[test]
fn clause_words_are_names_elsewhere() {
    for section in [
        "prepare |_| { let commit = 1; let prepare = commit; let abort = 2; } commit store(commit, abort) => prepare",
        "commit |_| store(place, 1) => abort",
        "commit |_| store(place, 1) => commit(abort) abort {}",
        "commit |_| store(place, 1) => match abort { 1 => 2, _ => 3 } abort {}",
        "commit |_| store(place, 1) => if abort { 1 } else { 2 } abort |n| {}",
        "commit |_| store(place, 1) => prepare + critical",
        "prepare |abort| { use_it(abort); } commit store(place, 1)",
    ] {
        assert_eq!(messages(section), Vec::<String>::new(), "{section}");
    }
}

#[test]
fn the_shell_is_needed() {
    for text in [
        "",
        "commit |_| store(place, 1)",
        "[rseq] commit |_| store(place, 1)",
        "(rseq) (none) commit |_| store(place, 1)",
    ] {
        let expansion = crate::expand(tokens(text), |program, _| program).to_string();
        assert!(expansion.contains("compile_error") && expansion.contains("rseq::rseq!"), "{text}");
    }
}

/// Whatever an editor has of a section by now, the user's tokens are in its expansion, in their
/// order and before every error.
#[test]
fn editors_get_what_is_typed() {
    let expansion = expand("editor", EVERY_CLAUSE).to_string();
    for half_typed in
        ["prepare |cpu: CpuId| { slot. }", "commit |_| store(slot, slot.)", "=> slot.", "abort |n| { slot. }"]
    {
        let expansion = expand("editor", &format!("prepare |_| {{ let slot = 1; }} {half_typed} com")).to_string();
        let places = ["let slot = 1", "slot .", "compile_error"].map(|part| expansion.find(part));
        assert!(places.is_sorted() && places[0].is_some(), "{half_typed}: {expansion}");
    }
    assert!(!expansion.contains("compile_error") && !expansion.contains("asm"), "{expansion}");
    for variant in [COUNTER, EVERY_CLAUSE, ONLY_A_COMMIT].iter().flat_map(|section| damaged(&tokens(section))) {
        assert!(!expand("editor", &variant.to_string()).is_empty());
    }
}

/// An editor finds a name that it made up by its place, so whether the rest can be read must not
/// move it.
#[test]
fn editors_get_readable_and_unreadable_code_alike() {
    for section in [
        "prepare |_| { slot.@; } commit store(slot, 1)",
        "commit |_| store(slot, slot.@)",
        "commit |_| store(slot, 1) => slot.@",
    ] {
        let [typed, completed] = ["", "name"].map(|name| expand("editor", &section.replace('@', name)).to_string());
        let (typed, _) = typed.split_once("slot .").expect("what was typed is there");
        assert!(completed.starts_with(typed), "{completed}");
    }
}

/// An audit is told of each step, in the order in which they happen; without it there is nothing of
/// it.
#[test]
fn audited_sections_tell_their_steps() {
    let places = |section: &str, steps: &[&str]| {
        let expansion = pretty("x86_64 audit", section);
        let place = |step: &&str| expansion.find(*step).unwrap_or_else(|| panic!("no {step} in {expansion}"));
        assert!(steps.iter().map(place).is_sorted(), "{expansion}");
    };
    places(EVERY_CLAUSE, &["Audit::new(", "'retry: loop", "Audit::enter", "asm!", "Audit::ended(", "Audit::aborted("]);
    places(PURE_COUNTER, &["Audit::new(", "Audit::window(", "asm!", "Audit::aborted("]);
    for section in SECTIONS {
        assert!(!pretty("x86_64", section).contains("Audit"));
    }
    let refused = pretty("x86_64 audit", "prepare |_| { dbg!(1); } commit store(place, 1)");
    assert!(refused.find("Audit::new(") < refused.find("Audit::enter"), "{refused}");
}

#[cfg(feature = "mutants")]
#[test]
fn mutants_lack_their_step() {
    let mutant = |name: &str| {
        let expansion = crate::expand(tokens(&format!("[rseq] [x86_64] [{name}] {COUNTER}")), crate::mutants::apply);
        expansion.to_string()
    };
    let (whole, no_check) = (mutant("none_of_these"), mutant("no_check"));
    assert_eq!(whole, expand("x86_64", COUNTER).to_string());
    assert!(whole.contains("cmp ") && !no_check.contains("cmp "));
    for name in ["no_disarm", "no_early_disarm"] {
        assert_ne!(mutant(name), whole, "{name}");
    }
}

/// Each mutation changes some section, and what it leaves is one that can be compiled, as asm and
/// for the model.
#[cfg(feature = "mutants")]
#[test]
fn every_mutation_changes_something() {
    for mutation in crate::mutants::MUTATIONS {
        let changed = |section: &&str| {
            let mutant = |emitter: &str, option: &str| {
                let written = tokens(&format!("[rseq] [{emitter}] {option} {section}"));
                let expansion = crate::expand(written, crate::mutants::apply);
                syn::parse2::<Expr>(expansion.clone()).expect("expansions are expressions");
                expansion.to_string()
            };
            let option = format!("[{}]", mutation.name);
            ["x86_64", "model"].map(|emitter| mutant(emitter, &option) != mutant(emitter, "")) == [true; 2]
        };
        assert!(SECTIONS.iter().any(changed) && !mutation.wrong.is_empty(), "{}", mutation.name);
    }
}

/// The model knows every step, and has a place in front of each instruction of the window.
#[test]
fn steps_of_the_model() {
    for section in SECTIONS {
        let expansion = expand("model", section).to_string();
        assert!(!expansion.contains("asm !") && !expansion.contains("compile_error"), "{section}");
        let program = lowered(section);
        let labels = |step: &&Step| !matches!(step, Step::Start | Step::Post);
        let steps: Vec<_> = program.steps.iter().filter(labels).map(|step| program.text(step)).collect();
        let mut rest = expansion.as_str();
        for step in steps {
            let entry = format!("text : {step:?}");
            let at = rest.find(&entry).unwrap_or_else(|| panic!("{entry} is missing: {expansion}"));
            rest = &rest[at + entry.len()..];
        }
    }
}

/// A pattern would take a user's static, constant or unit structure for what it binds, so no name
/// that the macro binds is one that a user has.
#[test]
fn names_of_its_own_begin_alike() {
    struct Bound(Vec<String>);
    impl<'ast> Visit<'ast> for Bound {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            self.0.push(pattern.ident.to_string());
            syn::visit::visit_pat_ident(self, pattern);
        }
    }
    const USERS: &[&str] = &[
        "cpu", "cid", "slot", "next", "number", "n", "first", "rest", "ring", "head", "tail", "used", "at", "shifted",
        "entry", "tries",
    ];
    let words = arch::all().map(|(name, _)| format!("{name} checked audit")).chain(["model".into(), "none".into()]);
    let expansions = words.flat_map(|words| SECTIONS.map(|section| expand(&words, section)));
    let mut own = 0;
    for expansion in expansions {
        let mut bound = Bound(Vec::new());
        bound.visit_expr(&syn::parse2(expansion).expect("an expression"));
        for name in bound.0.iter().filter(|name| !USERS.contains(&name.as_str())) {
            assert!(name.starts_with("__rseq_"), "{name}");
            own += 1;
        }
    }
    assert!(own > 100);
}

/// Expands and says whether it was refused; that the outcome is an expression in every case is what
/// this is for.
fn is_refused(section: &str) -> bool {
    let expansion = catch_unwind(|| expand("x86_64", section).to_string());
    let expansion = expansion.unwrap_or_else(|_| panic!("the compiler panics at: {section}"));
    if let Err(error) = syn::parse_str::<Expr>(&expansion) {
        panic!("not an expression ({error}): {section}\n{expansion}");
    }
    expansion.contains("compile_error")
}

#[test]
fn malformed_sections_are_refused() {
    const MALFORMED: &[&str] = &[
        "",
        ";",
        ",",
        "|",
        "||",
        "=>",
        "=> =>",
        "=> 1",
        "{}",
        "()",
        "[]",
        "1",
        "\"commit\"",
        "'commit",
        "#",
        "#![x]",
        "commit",
        "commit commit",
        "commit |",
        "commit ||",
        "commit |||",
        "commit |a",
        "commit |a b|",
        "commit |a:|",
        "commit |a: |",
        "commit |a: CpuId<u8>, b|",
        "commit |1| store(a, b)",
        "commit |&a| store(a, b)",
        "commit |mut a| store(a, b)",
        "commit || store(a, b)",
        "commit |fn| store(a, b)",
        "commit |a: fn()| store(a, b)",
        "commit store",
        "commit store a b",
        "commit store {}",
        "commit store [a, b]",
        "commit |_| store()",
        "commit |_| store(,)",
        "commit |_| store(a)",
        "commit |_| store(a,)",
        "commit |_| store(a b)",
        "commit |_| store(a, b, c)",
        "commit |_| store(a, b,, )",
        "commit |_| store(let, b)",
        "commit |_| store(a, +)",
        "commit |_| store(a, b) store(a, b)",
        "commit |_| store(a, b);",
        "commit |_| store(a, b),",
        "commit |_| store(a, b) =>",
        "commit |_| store(a, b) => =>",
        "commit |_| store(a, b) => 1 2",
        "commit |_| store(a, b) => abort {}",
        "commit |_| store(a, b) abort",
        "commit |_| store(a, b) abort ||",
        "commit |_| store(a, b) abort || {}",
        "commit |_| store(a, b) abort |n|",
        "commit |_| store(a, b) abort |n, m| {}",
        "commit |_| store(a, b) abort n {}",
        "commit |_| store(a, b) abort {} abort {}",
        "commit |_| store(a, b) commit store(a, b)",
        "commit = store(a, b)",
        "commit 'a: store(a, b)",
        "commit \u{fc}ber(a, b)",
        "commit r#store(a, b)",
        "prepare",
        "prepare |_| {",
        "prepare |_| {}",
        "prepare |_| {} prepare {}",
        "prepare () commit store(a, b)",
        "prepare |cpu| |cpu| {} commit store(a, b)",
        "prepare |_| { let } commit store(a, b)",
        "prepare |_| { } } commit store(a, b)",
        "prepare |_| { #![inner] } commit store(a, b)",
        "prepare |_| { fn } commit store(a, b)",
        "prepare |_| { break } commit store(a, b)",
        "prepare |_| { yield 1 } commit store(a, b)",
        "prepare move {} commit store(a, b)",
        "async prepare {} commit store(a, b)",
        "unsafe { commit store(a, b) }",
        "critical commit store(a, b)",
        "critical |_| {}",
        "critical |_| {} critical {} commit store(a, b)",
        "commit |_| store(a, b) critical {}",
        "critical |_| { ; } commit store(a, b)",
        "critical |_| { let } commit store(a, b)",
        "critical |_| { let x } commit store(a, b)",
        "critical |_| { let x; } commit store(a, b)",
        "critical |_| { let x = ; } commit store(a, b)",
        "critical |_| { let x = a; } commit store(a, b)",
        "critical |_| { let x = load; } commit store(a, b)",
        "critical |_| { let x = load(); } commit store(a, b)",
        "critical |_| { let x = load(a) } commit store(a, b)",
        "critical |_| { let x = load(a, b); } commit store(a, b)",
        "critical |_| { let x: = load(a); } commit store(a, b)",
        "critical |_| { let (x, y) = load(a); } commit store(a, b)",
        "critical |_| { let mut x = load(a); } commit store(a, b)",
        "critical |_| { let x = a * b; } commit store(a, b)",
        "critical |_| { let x = a && b; } commit store(a, b)",
        "critical |_| { load(a); } commit store(a, b)",
        "critical |_| { store(a); } commit store(a, b)",
        "critical |_| { store(a, b) } commit store(a, b)",
        "critical |_| { store(a, b, c); } commit store(a, b)",
        "critical |_| { store_release(a, b); } commit store(a, b)",
        "critical |_| { add(a, b); } commit store(a, b)",
        "critical |_| { copy(a, b); } commit store(a, b)",
        "critical |_| { copy; } commit store(a, b)",
        "critical |_| { exit 1 } commit store(a, b)",
        "critical |_| { if a { exit 1 } } commit store(a, b)",
        "critical |_| { if a == b { 1 } } commit store(a, b)",
        "critical |_| { if a == b { } } commit store(a, b)",
        "critical |_| { if a == b { exit 1 } else { exit 2 } } commit store(a, b)",
        "critical |_| { if a == b { exit 1 2 } } commit store(a, b)",
        "critical |_| { if a == b } commit store(a, b)",
        "critical |_| { if a + b { exit 1 } } commit store(a, b)",
        "critical |_| { if let x = a { exit 1 } } commit store(a, b)",
        "critical |_| { a = b; } commit store(a, b)",
        "critical |_| { while a {} } commit store(a, b)",
        "critical |_| { commit store(a, b) } commit store(a, b)",
        "critical |_| { let x = load(a); } commit store(x.y, b)",
        "critical |_| { let x = load(a); } commit store(&x.y, b)",
        "critical |_| { let x = load(a); } commit store(&(**x).y, b)",
        "critical |_| { let x = load(a); } commit store(&x.f(), b)",
        "critical |_| { let x = load(a); } commit store(&(*x).y[1].z[2], b)",
        "critical |_| { let x = load(a); } commit store(a, x + 1)",
        "critical |_| { let x = load(a); let y = f(x) + 1; } commit store(a, y)",
        "critical |cpu| { let x = cpu + 1; } commit store(a, x)",
        "critical |cpu| { let x = load(&A[f(cpu)]); } commit store(a, x)",
        "commit |cpu| store(&A[cpu], cpu.get())",
        "prepare |_| { x; } critical { let x = load(a); } commit store(a, x)",
        "Commit store(a, b)",
        "prepare: {} commit: store(a, b)",
    ];
    for section in MALFORMED {
        // Text that isn't even tokens never gets to a macro.
        if section.parse::<TokenStream>().is_ok() {
            assert!(is_refused(section), "accepted: {section}");
        }
    }
}

/// The stream with one token left out, or with all left out from one on, at every depth.
fn damaged(stream: &TokenStream) -> Vec<TokenStream> {
    let trees: Vec<TokenTree> = stream.clone().into_iter().collect();
    let mut variants = Vec::new();
    for (at, tree) in trees.iter().enumerate() {
        let (before, after) = (&trees[..at], &trees[at + 1..]);
        variants.push(before.iter().cloned().collect());
        variants.push(before.iter().chain(after).cloned().collect());
        if let TokenTree::Group(group) = tree {
            variants.extend(damaged(&group.stream()).into_iter().map(|inside| {
                let group = TokenTree::from(Group::new(group.delimiter(), inside));
                before.iter().chain([&group]).chain(after).cloned().collect()
            }));
        }
    }
    variants
}

#[test]
fn damaged_sections_are_refused_or_expanded() {
    let mut expanded = 0;
    for section in SECTIONS {
        assert_eq!(messages(section), Vec::<String>::new(), "{section}");
        let variants = damaged(&tokens(section));
        assert!(variants.len() > 20);
        let refused = variants.iter().filter(|variant| is_refused(&variant.to_string())).count();
        assert!(refused > 0, "{section}");
        expanded += variants.len() - refused;
    }
    assert!(expanded > 0);
}

/// The same with the tokens in reverse, which puts everything where nobody expects it.
#[test]
fn sections_written_backwards_are_refused() {
    for section in SECTIONS {
        let mut trees: Vec<TokenTree> = tokens(section).into_iter().collect();
        trees.reverse();
        assert!(is_refused(&trees.into_iter().collect::<TokenStream>().to_string()));
    }
}
