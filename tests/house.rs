//! The whole tree: lines that are no wider than they may be, links and tables of the documentation
//! that lead somewhere, and names of files in it that are there.

use std::fs;
use std::path::{Path, PathBuf};

/// The most columns of a comment or of prose; tables may be wider.
const PROSE: usize = 100;
/// The most columns of code. A line with a string may be wider, since rustfmt breaks none.
const CODE: usize = 120;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The files of a folder, but for those that are built or hidden.
fn files(folder: &Path) -> Vec<PathBuf> {
    let name = |path: &Path| path.file_name().expect("it has a name").to_string_lossy().into_owned();
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("it can be read").path());
    let kept = entries.filter(|path| !name(path).starts_with('.') && name(path) != "target");
    kept.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The tree's files with such an ending, as they are called from its root, and what is in them.
fn texts(ending: &str) -> Vec<(String, String)> {
    let named = files(Path::new(ROOT)).into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    let named = named.map(|path| (path.strip_prefix(ROOT).expect("it is in it").display().to_string(), path));
    named.map(|(name, path)| (name, fs::read_to_string(path).expect("it is text"))).collect()
}

/// The lines of a Markdown file that are prose or tables, by number: no blocks of code, and nothing
/// that `cargo xtask` wrote.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut is_code, mut is_written) = (false, false);
    text.lines().enumerate().map(|(number, line)| (number + 1, line)).filter(move |(_, line)| {
        is_code ^= line.starts_with("```");
        is_written = is_written && !line.ends_with(": end -->") || line.ends_with(": begin -->");
        !is_code && !is_written && !line.starts_with("    ")
    })
}

fn assert_none(wrong: impl Iterator<Item = String>, what: &str) {
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

#[test]
fn no_line_is_too_wide() {
    let code = texts(".rs").into_iter().flat_map(|(name, text)| {
        let is_wide = |line: &str| match line.trim_start().strip_prefix("//") {
            Some(comment) if comment.trim_start_matches(['/', '!', ' ']).starts_with('|') => false,
            Some(_) => line.chars().count() > PROSE,
            None => line.chars().count() > CODE && !line.contains('"'),
        };
        let wide = text.lines().enumerate().filter(|(_, line)| is_wide(line));
        wide.map(|(number, line)| format!("{name}:{}: {line}", number + 1)).collect::<Vec<_>>()
    });
    let pages = texts(".md").into_iter().flat_map(|(name, text)| {
        let is_wide = |line: &str| line.chars().count() > PROSE && !line.starts_with(['|', '!']);
        let wide = prose(&text).filter(|(_, line)| is_wide(line));
        wide.map(|(number, line)| format!("{name}:{number}: {line}")).collect::<Vec<_>>()
    });
    assert_none(code.chain(pages), "wider than they may be");
}

/// The part of a link behind `#` by which a heading is found.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Does a link from this page lead somewhere? One out of the tree counts as if it did.
fn leads_somewhere(page: &str, link: &str) -> bool {
    if link.contains("://") {
        return true;
    }
    let (file, wanted) = link.split_once('#').map_or((link, None), |(file, wanted)| (file, Some(wanted)));
    let page = Path::new(ROOT).join(page);
    let path = if file.is_empty() { page } else { page.parent().expect("a file").join(file) };
    let has_heading = |wanted: &str| {
        let text = fs::read_to_string(&path).expect("it is there");
        prose(&text).any(|(_, line)| line.starts_with('#') && anchor(line) == wanted)
    };
    path.exists() && wanted.is_none_or(has_heading)
}

#[test]
fn links_lead_somewhere() {
    let wrong = texts(".md").into_iter().flat_map(|(name, text)| {
        let lines: Vec<_> = prose(&text).map(|(_, line)| line).collect();
        let text = lines.join("\n");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let wrong = links.filter(|link| !leads_somewhere(&name, link));
        wrong.map(|link| format!("{name}: {link}")).collect::<Vec<_>>()
    });
    assert_none(wrong, "links that lead nowhere");
}

#[test]
fn files_that_are_named_are_there() {
    let all: Vec<_> = files(Path::new(ROOT)).iter().map(|path| path.display().to_string()).collect();
    let wrong = texts(".md").into_iter().flat_map(|(name, text)| {
        let words = text.split(|c: char| !c.is_alphanumeric() && !"_-./".contains(c));
        let named = words.filter(|word| word.ends_with(".rs") || word.ends_with(".py") || word.ends_with(".tsv"));
        let wrong = named.filter(|word| {
            !word.starts_with(['.', '/']) && !all.iter().any(|file| file.ends_with(&format!("/{word}")))
        });
        wrong.map(|word| format!("{name}: {word}")).collect::<Vec<_>>()
    });
    assert_none(wrong, "files that aren't there");
}

#[test]
fn rows_of_a_table_have_equally_many_cells() {
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let wrong = texts(".md").into_iter().flat_map(|(name, text)| {
        let lines: Vec<_> = prose(&text).filter(|(_, line)| line.starts_with('|')).collect();
        let pairs = lines.windows(2).filter(|pair| pair[0].0 + 1 == pair[1].0 && cells(pair[0].1) != cells(pair[1].1));
        pairs.map(|pair| format!("{name}:{}: {}", pair[1].0, pair[1].1)).collect::<Vec<_>>()
    });
    assert_none(wrong, "rows with more or fewer cells than those above");
}
