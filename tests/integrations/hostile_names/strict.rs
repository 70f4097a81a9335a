//! A reader of both text formats that takes nothing but what they allow, and no order of lines
//! that some reader could mistake.

use std::collections::{HashMap, HashSet};

/// Names and values, as they stand there.
type Labels = Vec<(String, String)>;

/// A family as it stands in a scrape.
#[derive(Debug)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

/// All families of a scrape; panics with what is wrong with it.
pub fn read(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut lines = text.strip_suffix("# EOF\n").unwrap_or(text).split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let (name, _) = rest(line, "# HELP ").split_once(' ').expect("a help");
        let kind = rest(lines.next().expect("a type behind the help"), "# TYPE ");
        let (typed, kind) = kind.split_once(' ').expect("a type");
        assert_eq!(name, typed, "help and type of different families");
        assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
        assert!(is_name(name, true), "{name:?} is no name");
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line));
        }
        families.push(Family { name: name.into(), kind: kind.into(), samples });
    }
    assert!(text.is_empty() || text.ends_with('\n'));
    check(&families);
    families
}

fn rest<'l>(line: &'l str, start: &str) -> &'l str {
    line.strip_prefix(start).unwrap_or_else(|| panic!("{line:?} doesn't begin with {start:?}"))
}

fn is_name(name: &str, colons: bool) -> bool {
    let first = |first: char| first.is_ascii_alphabetic() || first == '_' || (colons && first == ':');
    name.starts_with(first) && name.chars().all(|one| first(one) || one.is_ascii_digit())
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line:?} has no value"));
    let (name, mut left) = line.split_at(end);
    assert!(is_name(name, true), "{line:?}");
    let mut labels = Vec::new();
    if let Some(mut inside) = left.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (label, behind) = inside.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
            assert!(is_name(label, false) && !label.starts_with("__"), "{line:?}");
            let (value, behind) = quoted(behind);
            labels.push((label.to_owned(), value));
            inside = behind.strip_prefix(',').unwrap_or(behind);
        }
        left = &inside[1..];
    }
    let value = rest(left, " ");
    let value = value.parse().unwrap_or_else(|_| panic!("{line:?}: {value:?} is no number"));
    Sample { name: name.into(), labels, value }
}

/// The value up to the quotation mark, and what is behind that.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, one)) = characters.next() {
        match one {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, one @ ('\\' | '"'))) => value.push(one),
                other => panic!("{other:?} is escaped in {text:?}"),
            },
            one => value.push(one),
        }
    }
    panic!("{text:?} doesn't end")
}

fn check(families: &[Family]) {
    let (mut names, mut series) = (HashSet::new(), HashSet::new());
    for family in families {
        let base = family.name.strip_suffix("_total").filter(|_| family.kind == "counter").unwrap_or(&family.name);
        let mut own: Vec<String> = match &*family.kind {
            "counter" => vec![base.to_owned(), format!("{base}_total")],
            "gauge" => vec![base.to_owned()],
            _ => ["", "_bucket", "_sum", "_count"].iter().map(|end| format!("{base}{end}")).collect(),
        };
        assert!(!family.samples.is_empty(), "{family:?}");
        for Sample { name, labels, .. } in &family.samples {
            assert!(own.contains(name), "{name} in {family:?}");
            let mut said: Vec<_> = labels.iter().filter(|(_, value)| !value.is_empty()).cloned().collect();
            said.sort();
            assert!(said.windows(2).all(|pair| pair[0].0 != pair[1].0), "{family:?}");
            assert!(series.insert((name.clone(), said)), "{name} {labels:?} twice in {families:?}");
        }
        own.dedup();
        own.into_iter().for_each(|name| assert!(names.insert(name.clone()), "{name} is of two of {families:?}"));
        if family.kind == "histogram" {
            buckets(family);
        }
    }
}

/// The buckets of a histogram, by their bounds, and its count.
type Buckets = (Vec<(f64, f64)>, Option<f64>);

/// Each histogram's bounds ascend to infinity, and so do its counts, to the count of all.
fn buckets(family: &Family) {
    let mut histograms: HashMap<Labels, Buckets> = HashMap::new();
    for Sample { name, labels, value } in &family.samples {
        let (bounds, others): (Vec<_>, Vec<_>) = labels.iter().cloned().partition(|(name, _)| name == "le");
        let (buckets, count) = histograms.entry(others).or_default();
        assert_eq!(bounds.len(), usize::from(name.ends_with("_bucket")), "{family:?}");
        buckets.extend(bounds.iter().map(|(_, bound)| (bound.parse().expect("a number"), *value)));
        *count = count.or(name.ends_with("_count").then_some(*value));
    }
    for (buckets, count) in histograms.into_values() {
        let ascends = |pair: &[(f64, f64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        assert!(buckets.windows(2).all(ascends), "{family:?}");
        assert_eq!(buckets.last().map(|(bound, all)| (*bound, Some(*all))), Some((f64::INFINITY, count)), "{family:?}");
    }
}
