//! The input of the job: lines of JSON, from files of text or made up.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A line of the input.
#[derive(Serialize, Deserialize)]
pub struct Record {
    pub number: usize,
    pub author: Author,
    pub tags: Vec<String>,
    pub text: String,
}

#[derive(Serialize, Deserialize)]
pub struct Author {
    pub name: String,
    pub place: Option<String>,
}

/// Lines of JSON.
pub struct Input {
    lines: Vec<String>,
}

impl Input {
    /// Each line of text as a record.
    pub fn of_files(files: &[PathBuf]) -> Result<Self, Box<dyn Error>> {
        let mut input = Self { lines: Vec::new() };
        for file in files {
            let name = file.display().to_string();
            let bytes = fs::read(file).map_err(|error| format!("{name}: {error}"))?;
            for text in String::from_utf8_lossy(&bytes).lines() {
                let tags = text.split_whitespace().take(3).map(str::to_owned).collect();
                input.add(Author { name: name.clone(), place: None }, tags, text.to_owned());
            }
        }
        Ok(input)
    }

    /// Texts of words that nobody speaks, the same ones each time.
    pub fn made_up(records: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let mut input = Self { lines: Vec::new() };
        for _ in 0..records {
            let author = Author { name: words(&mut random, 2), place: random.bool().then(|| word(&mut random)) };
            let tags = (0..random.usize(..6)).map(|_| word(&mut random)).collect();
            let length = random.usize(1..60);
            let text = words(&mut random, length);
            input.add(author, tags, text);
        }
        input
    }

    fn add(&mut self, author: Author, tags: Vec<String>, text: String) {
        let record = Record { number: self.lines.len(), author, tags, text };
        self.lines.push(serde_json::to_string(&record).expect("a record of strings is JSON"));
    }

    /// The lines, a part at a time, each of as many as a thread takes at once.
    pub fn part(&self, number: usize) -> Option<&[String]> {
        self.lines.chunks(64).nth(number)
    }
}

fn words(random: &mut fastrand::Rng, count: usize) -> String {
    let words: Vec<String> = (0..count).map(|_| word(random)).collect();
    words.join(" ")
}

/// Short words are frequent, and long ones rare.
fn word(random: &mut fastrand::Rng) -> String {
    const SYLLABLES: [&str; 16] =
        ["ka", "to", "Mi", "re", "lo", "sun", "pe", "da", "vi", "nor", "Za", "bel", "u", "qui", "ster", "ä"];
    let mut word = String::new();
    loop {
        word.push_str(SYLLABLES[random.usize(..SYLLABLES.len())]);
        if random.usize(..5) < 2 {
            return word;
        }
    }
}
