//! Sections as the source of `rseq!`.

use std::collections::BTreeSet;

use super::section::{
    Abort, Bytes, Comparison, Form, Index, Literal, Names, Operand, Operation, Outside, Param, Place, Root, Section,
    Step, Through, Ty,
};

/// The names of the nodes that a section gets.
const PARAMS: [&str; 3] = ["a", "b", "c"];

/// The module of the generated program in which these sections are.
pub fn module(sections: &[&Section]) -> String {
    let mut text = String::from("#![allow(warnings)]\nuse super::*;\n\n");
    text.push_str("/// The sections, and which kind of slots each uses.\n");
    text.push_str(&format!("pub static SECTIONS: [(Section, usize); {}] = [\n", sections.len()));
    for (number, section) in sections.iter().enumerate() {
        let kind = usize::from(section.index == Some(Index::MmCid));
        text.push_str(&format!("    (section_{number}::run, {kind}),\n"));
    }
    text.push_str("];\n");
    for (number, section) in sections.iter().enumerate() {
        // Each in a module of its own, so that rustc compiles them side by side.
        text.push_str(&format!(
            "\nmod section_{number} {{\n    use super::super::*;\n    use super::super::memory::*;\n    #[cfg(not(feature = \"model\"))]\n    use rseq::rseq;\n    \
             use std::sync::atomic::*;\n\n{}}}\n",
            function(section)
        ));
    }
    text
}

/// A function with one section.
pub fn function(section: &Section) -> String {
    let printer = Printer { section };
    let mut text = String::from(
        "    pub fn run(a: *mut Node, b: *mut Node, c: *mut Node, x: [u64; ARGUMENTS]) -> Outcome {\n        unsafe {\n",
    );
    for line in printer.bindings() {
        text.push_str(&format!("            {line}\n"));
    }
    text.push_str("            rseq! {\n");
    for line in printer.clauses() {
        text.push_str(&format!("                {line}\n"));
    }
    text.push_str("            }\n        }\n    }\n");
    text
}

struct Printer<'s> {
    section: &'s Section,
}

impl Printer<'_> {
    /// The slices and raw pointers that the section's places are elements of.
    fn bindings(&self) -> BTreeSet<String> {
        let mut places = vec![&self.section.commit.place];
        places.extend(self.section.steps.iter().filter_map(|step| match step {
            Step::Load { place, .. } | Step::Store { place, .. } => Some(place),
            _ => None,
        }));
        places.into_iter().filter_map(|place| self.binding(place)).collect()
    }

    fn binding(&self, place: &Place) -> Option<String> {
        let Place::Element { root: root @ Root::Param(Param::Node(_)), array, through, .. } = place else {
            return None;
        };
        let (base, element) = (format!("{}.{}", self.root(root), array.path), array.element);
        let name = self.elements(root, array.path, *through);
        match through {
            Through::Itself => None,
            Through::Slice => Some(format!("let {name}: &[{element}] = &{base};")),
            Through::RawPointer => Some(format!("let {name}: *const {element} = (&raw const {base}).cast();")),
        }
    }

    /// The name that ordinary Rust has for the elements of an array.
    fn elements(&self, root: &Root, array: &str, through: Through) -> String {
        let Root::Param(Param::Node(node)) = root else { return format!("{}.{array}", self.root(root)) };
        match through {
            Through::Itself => format!("{}.{array}", self.root(root)),
            Through::Slice => format!("slice_{}_{array}", PARAMS[*node]),
            Through::RawPointer => format!("raw_{}_{array}", PARAMS[*node]),
        }
    }

    fn clauses(&self) -> Vec<String> {
        let section = self.section;
        let mut index = Some(match section.index {
            None => "|_cpu| ",
            Some(Index::Cpu) => "|cpu| ",
            Some(Index::CpuWritten) => "|cpu: CpuId| ",
            Some(Index::MmCid) => "|cpu: MmCid| ",
        });
        let mut take_index = || index.take().unwrap_or_default();
        let mut lines = Vec::new();
        if section.prepare {
            lines.push(format!("prepare {}{{", take_index()));
            lines.extend(self.prepare().into_iter().map(|line| format!("    {line}")));
            lines.push("}".into());
        }
        if !section.steps.is_empty() || section.empty_critical {
            lines.push(format!("critical {}{{", take_index()));
            lines.extend(self.steps());
            lines.push("}".into());
        }
        let commit = &section.commit;
        let (form, place, value) = (form(commit.form), self.place(&commit.place), self.operand(&commit.value));
        lines.push(format!("commit {}{form}({place}, {value})", take_index()));
        lines.push(format!("=> {}", self.outcome("COMMITTED", &section.result)));
        lines.extend(match section.abort {
            Abort::None => None,
            Abort::Plain => Some("abort { }".into()),
            Abort::Counting => Some("abort |n| { if n > 1_000_000 { std::process::abort() } }".into()),
        });
        // An index that selects nothing is to say so.
        if !lines.iter().any(|line| line.contains("[cpu]") || line.contains("cpu.get()")) {
            lines[0] = lines[0].replacen("|cpu", "|_cpu", 1);
        }
        lines
    }

    fn prepare(&self) -> Vec<String> {
        let mut lines = vec!["let x = [x[0] ^ 1, x[1], x[2], x[3]];".to_owned()];
        if self.section.index.is_some() {
            let [slots, hits, big] = self.slots();
            lines.push(format!("let slot = &{slots}[cpu];"));
            lines.push(format!("let hits = &{hits}[cpu];"));
            lines.push(format!("let big = &{big}[cpu];"));
        }
        lines
    }

    fn slots(&self) -> [&'static str; 3] {
        match self.section.index {
            Some(Index::MmCid) => ["CID_SLOTS", "CID_HITS", "CID_BIG"],
            _ => ["SLOTS", "HITS", "BIG"],
        }
    }

    fn steps(&self) -> Vec<String> {
        let mut exits = 0;
        let line = |step: &Step| match step {
            Step::Load { to, place } => format!("    let {} = load({});", self.bound(*to), self.place(place)),
            Step::Compute { to, left, operation, right } => {
                let (left, right) = (self.operand(left), self.operand(right));
                format!("    let {} = {left} {} {right};", self.bound(*to), symbol(*operation))
            }
            Step::Store { place, value } => format!("    store({}, {});", self.place(place), self.operand(value)),
            Step::Copy { from, to, length } => {
                let (from, to) = (self.bytes(from, "source"), self.bytes(to, "target"));
                format!("    copy({from}, {to}, {});", self.operand(length))
            }
            Step::Exit { left, comparison, right, names, .. } => {
                let (left, right) = (self.operand(left), self.operand(right));
                exits += 1;
                let value = self.outcome(&(exits - 1).to_string(), names);
                format!("    if {left} {} {right} {{ exit {value} }}", compared(*comparison))
            }
        };
        self.section.steps.iter().map(line).collect()
    }

    /// A name where it is bound.
    fn bound(&self, value: usize) -> String {
        let value = &self.section.values[value];
        if value.annotated { format!("{}: {}", value.name, value.ty.name()) } else { value.name.clone() }
    }

    fn outcome(&self, exit: &str, names: &Names) -> String {
        let values: Vec<_> =
            names.values.iter().map(|value| format!("{}.bits()", self.section.values[*value].name)).collect();
        let index = if names.index { "Some(cpu.get())" } else { "None" };
        format!("outcome({exit}, [{}], {index})", values.join(", "))
    }

    fn operand(&self, operand: &Operand) -> String {
        match operand {
            Operand::Value(value) => self.section.values[*value].name.clone(),
            Operand::Literal(number) => literal(number),
            Operand::Null => "null".into(),
            Operand::Outside(ty, outside) => self.outside(*ty, outside),
        }
    }

    fn outside(&self, ty: Ty, outside: &Outside) -> String {
        match outside {
            Outside::Argument(number) if ty == Ty::Bool => format!("(x[{number}] & 1 == 1)"),
            Outside::Argument(number) => format!("(x[{number}] as {})", ty.name()),
            Outside::Masked(number, mask) => format!("((x[{number}] & {mask}) as {})", ty.name()),
            Outside::Min if ty == Ty::Bool => "false".into(),
            Outside::Max if ty == Ty::Bool => "true".into(),
            Outside::Min => format!("{}::MIN", ty.name()),
            Outside::Max => format!("{}::MAX", ty.name()),
            Outside::Field(param, field) => {
                let load = if ty == Ty::Option { "" } else { ".load(Ordering::Relaxed)" };
                format!("{}.{}{load}", self.root(&Root::Param(*param)), field.path)
            }
            Outside::Address(node) => match ty {
                Ty::Words => format!("(&raw mut (*{}).plain).cast::<u32>()", PARAMS[*node]),
                Ty::Option => format!("NonNull::new({})", PARAMS[*node]),
                _ => PARAMS[*node].into(),
            },
        }
    }

    fn place(&self, place: &Place) -> String {
        let [_, hits, big] = self.slots();
        match place {
            Place::Field { root, field } => {
                let ampersand = if field.ty == Ty::Option { "&raw mut " } else { "&" };
                format!("{ampersand}{}.{}", self.root(root), field.path)
            }
            Place::Element { root, array, through, index, part } => {
                let elements = self.elements(root, array.path, *through);
                let outside = matches!(root, Root::Param(_)) && !matches!(index, Operand::Value(_));
                let element = match through {
                    Through::RawPointer if outside => format!("(*{elements}.add({}))", self.operand(index)),
                    // The window indexes the slice, not the reference to it.
                    Through::Slice if !outside => format!("(*{elements})[{}]", self.operand(index)),
                    _ => format!("{elements}[{}]", self.operand(index)),
                };
                let dot = if part.path.is_empty() { "" } else { "." };
                format!("&{element}{dot}{}", part.path)
            }
            Place::Hits if self.section.prepare => "hits".into(),
            Place::Hits => format!("&{hits}[cpu]"),
            Place::Big if self.section.prepare => "&big.value".into(),
            Place::Big => format!("&{big}[cpu].value"),
            Place::Word { pointer, index } => {
                let pointer = &self.section.values[*pointer].name;
                index.as_ref().map_or(pointer.clone(), |index| format!("&raw mut {pointer}[{}]", self.operand(index)))
            }
        }
    }

    /// A node, as something that has fields.
    fn root(&self, root: &Root) -> String {
        let name = |value: usize| &self.section.values[value].name;
        match root {
            Root::Param(Param::Node(node)) => format!("(*{})", PARAMS[*node]),
            Root::Param(Param::Slot) => "slot".into(),
            Root::Slot => format!("{}[cpu]", self.slots()[0]),
            Root::Behind(pointer) => format!("(*{})", name(*pointer)),
            Root::ElementBehind(pointer, index) => format!("{}[{}]", name(*pointer), self.operand(index)),
            Root::ElementOf(node, index) => format!("{}[{}]", PARAMS[*node], name(*index)),
        }
    }

    fn bytes(&self, bytes: &Bytes, field: &str) -> String {
        let index = bytes.index.as_ref().map(|index| format!("[{}]", self.operand(index))).unwrap_or_default();
        let place = format!("{}.{field}{index}", self.root(&bytes.root));
        let in_window = matches!(bytes.index, Some(Operand::Value(_)));
        match (field, &bytes.root) {
            ("source", _) => format!("&raw const {place}"),
            // To a slot there is a shared reference only, of which Rust makes no `&raw mut`.
            (_, Root::Param(Param::Slot)) if !in_window => format!("(&raw const {place}).cast_mut()"),
            _ => format!("&raw mut {place}"),
        }
    }
}

fn literal(literal: &Literal) -> String {
    let suffix = literal.suffix.map(Ty::name).unwrap_or_default();
    if literal.hexadecimal && literal.number >= 0 {
        return format!("{:#x}{suffix}", literal.number);
    }
    format!("{}{suffix}", literal.number)
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Store => "store",
        Form::StoreRelease => "store_release",
        Form::Update(Operation::Add) => "add",
        Form::Update(Operation::Sub) => "sub",
        Form::Update(Operation::And) => "and",
        Form::Update(Operation::Or) => "or",
        Form::Update(_) => "xor",
    }
}

fn symbol(operation: Operation) -> &'static str {
    match operation {
        Operation::Add => "+",
        Operation::Sub => "-",
        Operation::And => "&",
        Operation::Or => "|",
        Operation::Xor => "^",
        Operation::Shl => "<<",
        Operation::Shr => ">>",
    }
}

fn compared(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Eq => "==",
        Comparison::Ne => "!=",
        Comparison::Lt => "<",
        Comparison::Le => "<=",
        Comparison::Gt => ">",
        Comparison::Ge => ">=",
    }
}
