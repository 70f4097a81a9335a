//! The job: lines of JSON are parsed, their words counted, and what was found written as JSON
//! again, by several threads. One more thread puts together, and so frees, what the others made.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use regex::Regex;
use serde::Serialize;

use super::input::{Input, Record};

/// The findings in a record.
#[derive(Serialize)]
struct Summary {
    number: usize,
    author: String,
    tags: Vec<String>,
    longest: String,
    words: BTreeMap<String, u32>,
}

/// The result of a thread for a part of the input.
struct Part {
    lines: Vec<String>,
    words: HashMap<String, u64>,
}

/// The result for all of the input, however many threads there are.
#[derive(Default)]
pub struct Results {
    records: usize,
    words: HashMap<String, u64>,
    bytes: usize,
    /// Of the lines that were written, in whatever order.
    digest: u64,
}

/// Does the job.
pub fn run(input: &Input, threads: usize) -> Results {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(4 * threads);
        for _ in 0..threads {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || work(input, next, &sender));
        }
        drop(sender);
        collect(&receiver)
    })
}

/// Takes one part after the other, as long as there are any.
fn work(input: &Input, next: &AtomicUsize, sender: &SyncSender<Part>) {
    let word = Regex::new(r"\p{Alphabetic}+").expect("a valid pattern");
    while let Some(lines) = input.part(next.fetch_add(1, Relaxed)) {
        let mut part = Part { lines: Vec::new(), words: HashMap::new() };
        for line in lines {
            let record = serde_json::from_str(line).expect("the input is made of records");
            let summary = summarise(record, &word);
            summary
                .words
                .iter()
                .for_each(|(word, count)| *part.words.entry(word.clone()).or_default() += u64::from(*count));
            part.lines.push(serde_json::to_string(&summary).expect("a summary of strings is JSON"));
        }
        if sender.send(part).is_err() {
            return;
        }
    }
}

fn summarise(record: Record, word: &Regex) -> Summary {
    let mut words = BTreeMap::new();
    for found in word.find_iter(&record.text) {
        *words.entry(found.as_str().to_lowercase()).or_default() += 1;
    }
    let mut tags: Vec<String> = record.tags.iter().map(|tag| tag.to_uppercase()).collect();
    tags.sort();
    let longest = words.keys().max_by_key(|word| word.len()).cloned().unwrap_or_default();
    let author = match record.author.place {
        Some(place) => format!("{} of {place}", record.author.name),
        None => record.author.name,
    };
    Summary { number: record.number, author, tags, longest, words }
}

fn collect(receiver: &Receiver<Part>) -> Results {
    let mut results = Results::default();
    for part in receiver {
        results.records += part.lines.len();
        for line in part.lines {
            results.bytes += line.len();
            results.digest = results.digest.wrapping_add(digest(&line));
        }
        for (word, count) in part.words {
            *results.words.entry(word).or_default() += count;
        }
    }
    results
}

fn digest(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "records  {}", self.records)?;
        writeln!(f, "words    {}", self.words.values().sum::<u64>())?;
        writeln!(f, "distinct {}", self.words.len())?;
        writeln!(f, "bytes    {}", self.bytes)?;
        writeln!(f, "digest   {:016x}", self.digest)?;
        let mut frequent: Vec<_> = self.words.iter().collect();
        frequent.sort_by(|left, right| right.1.cmp(left.1).then(left.0.cmp(right.0)));
        frequent.iter().take(10).try_for_each(|(word, count)| writeln!(f, "{count:>8} {word}"))
    }
}
