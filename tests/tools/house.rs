//! The whole tree: widths of lines, first words of comments, and the links, tables and names of
//! files in its pages.

use std::fs;
use std::path::{Path, PathBuf};

/// The most columns of a comment or of prose. Tables may be wider.
const PROSE: usize = 100;
/// The most columns of code. A line with a string may be wider, since rustfmt breaks none.
const CODE: usize = 120;

/// Words with which no comment begins.
const NO_NOUNS: [&str; 3] = ["What ", "Whether ", "Whoever "];

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The files of a folder, but for those that are built or hidden.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("it can be read"));
    let kept = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let kept = kept.filter(|entry| entry.file_name() != "target").map(|entry| entry.path());
    kept.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Fails if anything is found wrong in a file with this ending, of which the name and the text are
/// given.
fn nothing_is_wrong(ending: &str, mut find: impl FnMut(&str, &str) -> Vec<String>) {
    let mut wrong = Vec::new();
    for path in files(Path::new(ROOT)).iter().filter(|path| path.to_string_lossy().ends_with(ending)) {
        let name = path.strip_prefix(ROOT).expect("it is in it").to_str().expect("text");
        let text = fs::read_to_string(path).expect("text");
        wrong.extend(find(name, &text).into_iter().map(|wrong| format!("{name}:{wrong}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lines of a page that are prose or tables, with their numbers: no code, and nothing that
/// `cargo xtask` wrote.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut is_code, mut is_written) = (false, false);
    (1..).zip(text.lines()).filter(move |(_, line)| {
        is_code ^= line.starts_with("```");
        is_written = line.ends_with(": begin -->") || is_written && !line.ends_with(": end -->");
        !is_code && !is_written && !line.starts_with("    ")
    })
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    Some(line.trim_start().strip_prefix("//")?.trim_start_matches(['/', '!', ' ']))
}

fn is_wider(line: &str, columns: usize) -> bool {
    line.chars().count() > columns
}

#[test]
fn no_line_is_too_wide() {
    nothing_is_wrong(".rs", |_, text| {
        let is_wide = |line: &str| match comment(line) {
            Some(text) => is_wider(line, PROSE) && !text.starts_with('|'),
            None => is_wider(line, CODE) && !line.contains('"'),
        };
        let wide = (1..).zip(text.lines()).filter(|(_, line)| is_wide(line));
        wide.map(|(number, line)| format!("{number}: too wide: {line}")).collect()
    });
    nothing_is_wrong(".md", |_, text| {
        let wide = prose(text).filter(|(_, line)| is_wider(line, PROSE) && !line.starts_with(['|', '!']));
        wide.map(|(number, line)| format!("{number}: too wide: {line}")).collect()
    });
}

#[test]
fn comments_begin_with_a_noun() {
    let is_none = |line: &str| comment(line).is_some_and(|text| NO_NOUNS.iter().any(|word| text.starts_with(word)));
    nothing_is_wrong(".rs", |_, text| {
        let wrong = (1..).zip(text.lines()).filter(|(_, line)| is_none(line));
        wrong.map(|(number, line)| format!("{number}: {line}")).collect()
    });
}

/// The part of a link behind `#` that leads to a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

/// `true` if a link of this page leads to a file, and to a heading if it has one. One out of the
/// tree counts as if it did.
fn leads_somewhere(page: &Path, link: &str) -> bool {
    if link.contains("://") {
        return true;
    }
    let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
    let path = if file.is_empty() { page.to_owned() } else { page.with_file_name(file) };
    let has = |wanted: &str| {
        let text = fs::read_to_string(&path).expect("text");
        prose(&text).any(|(_, line)| line.starts_with('#') && anchor(line) == wanted)
    };
    path.exists() && heading.is_none_or(has)
}

#[test]
fn links_lead_somewhere() {
    nothing_is_wrong(".md", |name, text| {
        let text: Vec<_> = prose(text).map(|(_, line)| line).collect();
        let text = text.join("\n");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let wrong = links.filter(|link| !leads_somewhere(&Path::new(ROOT).join(name), link));
        wrong.map(|link| format!(" {link} leads nowhere")).collect()
    });
}

#[test]
fn files_that_are_named_are_there() {
    let all: Vec<_> = files(Path::new(ROOT)).iter().map(|path| path.display().to_string()).collect();
    let is_there = |file: &str| all.iter().any(|path| path.ends_with(&format!("/{file}")));
    nothing_is_wrong(".md", |_, text| {
        let words = text.split(|letter: char| !letter.is_alphanumeric() && !"_-./".contains(letter));
        let names = words.filter(|word| [".rs", ".py", ".tsv"].iter().any(|ending| word.ends_with(ending)));
        let wrong = names.filter(|name| !name.starts_with(['.', '/']) && !is_there(name));
        wrong.map(|name| format!(" {name} isn't there")).collect()
    });
}

#[test]
fn rows_of_a_table_have_equally_many_cells() {
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    nothing_is_wrong(".md", |_, text| {
        let rows: Vec<_> = prose(text).filter(|(_, line)| line.starts_with('|')).collect();
        let pairs = rows.windows(2).filter(|pair| pair[0].0 + 1 == pair[1].0 && cells(pair[0].1) != cells(pair[1].1));
        pairs.map(|pair| format!("{}: not as many cells as above: {}", pair[1].0, pair[1].1)).collect()
    });
}
