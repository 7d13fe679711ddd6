//! The rules that keep the tree readable, as tests on the sources themselves.
//!
//! Head comments, limits of files and functions, imports that would turn an arrow around, unsafe
//! in one file, names that say nothing, nothing left to do. There is no list of exceptions.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// One Rust source: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines before the unit tests at the end.
    fn code(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.text.lines().collect();
        let tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests");
        if let Some(end) = lines.windows(2).position(tests) {
            lines.truncate(end);
        }
        lines
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.ends_with("tests.rs")
            || self.path.contains("/tests/")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for crate_folder in ["coordinator", "client", "broker", "tests", "benches"] {
        gather(&root().join(crate_folder), crate_folder, &mut found);
    }
    assert!(found.len() > 20, "only {} sources found", found.len());
    found
}

fn gather(folder: &Path, name: &str, found: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("readable entry"))
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let file = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{name}/{file}");
        if entry.path().is_dir() {
            if file != "target" && file != "out" {
                gather(&entry.path(), &path, found);
            }
        } else if file.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("UTF-8");
            found.push(Source { path, text });
        }
    }
}

/// Fails with all findings at once.
fn report(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

/// A line without its comment and without what stands in quotes.
fn bare(line: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                chars.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            c if !quoted => out.push(c),
            _ => {}
        }
    }
    out
}

#[test]
fn every_file_starts_by_saying_what_it_is() {
    let mut findings = Vec::new();
    // Unit tests in a file of their own (`foo/tests.rs`) belong to `foo.rs`, which says what it is.
    let headed = |source: &Source| !source.path.ends_with("/tests.rs");
    for source in sources().into_iter().filter(headed) {
        let lines = source
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .count();
        if !(1..=32).contains(&lines) {
            findings.push(format!("{}: {lines} lines of //! at the top", source.path));
        }
    }
    report("a file starts with //! lines", &findings);
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let lines = source.code().len();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines} lines", source.path));
        }
    }
    report("a file has at most 500 lines without its tests", &findings);
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|s| !s.is_test()) {
        let lines = source.code();
        for (start, line) in lines.iter().enumerate() {
            let Some(indent) = function_indent(line) else {
                continue;
            };
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..]
                .iter()
                .position(|l| **l == end || l.ends_with(';') && l.starts_with(&end))
                .unwrap_or(0);
            if !line.ends_with('}') && !line.ends_with(';') && length > FUNCTION_LINES_MAX {
                findings.push(format!("{}:{}: {length} lines", source.path, start + 1));
            }
        }
    }
    report("a function has at most 70 lines", &findings);
}

/// The indentation of a line that starts a function.
fn function_indent(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let mut words = text.split(' ').take(6);
    let is_function = words.any(|word| word == "fn")
        && ["fn ", "pub", "async ", "const ", "unsafe ", "extern "]
            .iter()
            .any(|start| text.starts_with(start));
    is_function.then(|| line.len() - text.len())
}

/// What is said to and by other brokers and clients.
const WIRE: [&str; 2] = ["wire::messages", "ErrorCode"];

#[test]
fn arrows_point_one_way() {
    // (folder, or file without its ending; what it may not name)
    let forbidden: &[(&str, &[&str])] = &[
        ("coordinator/src", &["nyala_client", "nyala::", "rdkafka"]),
        (
            "coordinator/src/protocol",
            &["tokio", "crate::session", "crate::embedded"],
        ),
        ("coordinator/src/session/client/requests", &["tokio"]),
        ("coordinator/src/session/client/answers", &["tokio"]),
        ("client/src", &["nyala::", "rdkafka"]),
        (
            "client/src/wire",
            &[
                "tokio",
                "tracing::",
                "nyala_coordinator::session",
                "nyala_coordinator::clock",
                "Instant",
            ],
        ),
        (
            "broker/src/storage",
            &[
                "tokio",
                "tracing::span",
                "instrument",
                "zookeeper",
                "nyala_coordinator::session",
                "crate::api",
                "crate::net",
                "crate::cluster",
                "crate::groups",
                "crate::replication",
                "wire::messages",
                "ErrorCode",
                "clock::",
            ],
        ),
        (
            "broker/src/replication",
            &[
                "crate::api",
                "crate::net",
                "crate::groups",
                "crate::cluster",
            ],
        ),
        // Those that are clients of other brokers speak the wire; what a partition is does not.
        ("broker/src/replication/partition", &WIRE),
        ("broker/src/replication/state", &WIRE),
        ("broker/src/replication/isr", &WIRE),
        ("broker/src/replication/table", &WIRE),
        ("broker/src/replication/terms", &WIRE),
        ("broker/src/replication/throttle", &WIRE),
        ("broker/src/groups", &["crate::net", "crate::broker"]),
        (
            "broker/src/cluster",
            &["crate::net", "crate::api", "crate::groups"],
        ),
        ("broker/src/api", &["crate::net", "crate::broker"]),
        (
            "broker/src/net",
            &[
                "crate::storage",
                "crate::replication",
                "crate::groups",
                "crate::cluster",
                "crate::broker",
            ],
        ),
        (
            "broker/src/config",
            &["tokio", "crate::net", "crate::api", "crate::cluster"],
        ),
    ];
    let mut findings = Vec::new();
    for source in &sources() {
        for (folder, words) in forbidden {
            let rest = source.path.strip_prefix(folder).unwrap_or("-");
            if !(rest.starts_with('/') || rest == ".rs") || source.is_test() {
                continue;
            }
            for (number, line) in source.code().iter().enumerate() {
                let code = bare(line);
                for word in words.iter().filter(|word| code.contains(*word)) {
                    findings.push(format!("{}:{}: {word}", source.path, number + 1));
                }
            }
        }
    }
    report("this folder does not know of that", &findings);
}

#[test]
fn only_its_two_ends_know_zookeepers_protocol() {
    let ends = [
        "coordinator/src/protocol",
        "coordinator/src/session",
        "coordinator/src/embedded",
    ];
    let mut findings = Vec::new();
    let mut known = 0;
    for source in sources().iter().filter(|s| !s.is_test()) {
        let knows = |line: &&str| bare(line).contains("crate::protocol");
        if source.code().iter().any(knows) {
            known += 1;
            // What the tests' proxy sees of it.
            let path = &source.path;
            if !ends.iter().any(|end| path.starts_with(end)) && !path.ends_with("testing.rs") {
                findings.push(path.clone());
            }
        }
    }
    assert!(known > 5, "it is not found where it is known");
    report("ZooKeeper's protocol is for its two ends only", &findings);
}

#[test]
fn unsafe_stands_in_one_file() {
    let mut findings = Vec::new();
    for source in &sources() {
        if source.path == "broker/src/storage/mmap.rs" {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = bare(line);
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "unsafe") {
                findings.push(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    report("unsafe only in broker/src/storage/mmap.rs", &findings);
}

#[test]
fn names_say_something() {
    const EMPTY: &[&str] = &[
        "Manager", "Helper", "Util", "Common", "Impl", "Misc", "Base", "Handler",
    ];
    let mut findings = Vec::new();
    for source in &sources() {
        let stem = source.path.rsplit('/').next().unwrap_or("");
        for word in stem.trim_end_matches(".rs").split('_') {
            let is_empty = |e: &&str| {
                let lower = e.to_lowercase();
                word == lower || word == format!("{lower}s")
            };
            if EMPTY.iter().any(is_empty) {
                findings.push(source.path.clone());
            }
        }
        for (number, line) in source.text.lines().enumerate() {
            let code = bare(line);
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            while let Some(word) = words.next() {
                if matches!(word, "struct" | "enum" | "trait" | "type")
                    && let Some(name) = words.next()
                    && EMPTY.iter().any(|e| has_word(name, e))
                {
                    findings.push(format!("{}:{}: {name}", source.path, number + 1));
                }
            }
        }
    }
    report("a name says what a thing is", &findings);
}

/// Whether a `CamelCase` name has `word` as one of its words.
fn has_word(name: &str, word: &str) -> bool {
    name.match_indices(word)
        .any(|(at, _)| !name[at + word.len()..].starts_with(|c: char| c.is_lowercase() && c != 's'))
}

/// The README's lines from one heading to the next of the same level.
fn readme_part(heading: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let level = heading.split(' ').next().unwrap_or("#");
    let mut part = String::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with(&format!("{level} ")) {
            inside = line == heading;
        } else if inside {
            part.push_str(line);
            part.push('\n');
        }
    }
    assert!(!part.is_empty(), "the README has no part {heading:?}");
    part
}

#[test]
fn the_readmes_map_is_the_tree() {
    let map = readme_part("## Architecture");
    let mut findings = Vec::new();
    let mut named: Vec<String> = Vec::new();
    let mut top = String::new();
    for line in map.lines().filter(|line| line.starts_with("    ")) {
        let text = &line[4..];
        let words = text.split("  ").map(str::trim).find(|w| !w.is_empty());
        let words = words.unwrap_or("").split(' ');
        let is_top = !text.starts_with(' ');
        for word in words.filter(|w| w.ends_with('/') || w.ends_with(".rs")) {
            let path = if is_top {
                word.to_owned()
            } else {
                format!("{top}{word}")
            };
            if is_top {
                top.clone_from(&path);
            }
            if !root().join(&path).exists() {
                findings.push(format!("{path} is named, but is not there"));
            }
            named.push(path);
        }
    }
    for source in sources() {
        let Some((folder, file)) = source.path.rsplit_once('/') else {
            continue;
        };
        let folder = format!("{folder}/");
        // The first two levels of folders are named; what is below explains itself in its mod.rs.
        let depth = folder.matches('/').count();
        let of_tests = file == "tests.rs" || source.path.contains("/tests/");
        if depth <= 3 && folder.contains("/src/") && !of_tests && !named.contains(&folder) {
            findings.push(format!("{folder} is there, but is not named"));
        }
    }
    findings.sort();
    findings.dedup();
    report(
        "the README's map names every folder, and only what exists",
        &findings,
    );
}

#[test]
fn the_readme_lists_the_apis() {
    let part = readme_part("## APIs");
    let rows = part.lines().filter(|line| line.starts_with("    "));
    let mut listed: Vec<&str> = rows.flat_map(|row| row.split(',')).map(str::trim).collect();
    listed.retain(|row| !row.is_empty());
    let served: Vec<String> = nyala::api::TABLE
        .iter()
        .map(|api| format!("{:?} {}-{}", api.key, api.min, api.max))
        .collect();
    let missing = served.iter().filter(|row| !listed.contains(&row.as_str()));
    let mut findings: Vec<String> = missing.map(|row| format!("missing: {row}")).collect();
    let extra = listed
        .iter()
        .filter(|row| !served.iter().any(|s| s == *row));
    findings.extend(extra.map(|row| format!("not served: {row}")));
    report(
        "the README lists the APIs that are served, and their versions",
        &findings,
    );
}

#[test]
fn the_readme_lists_the_settings_that_differ_from_kafkas() {
    let part = readme_part("## Settings");
    let findings: Vec<String> = nyala::config::KEYS
        .iter()
        .filter(|key| key.doc.contains("own key") || key.doc.contains("(Kafka's default"))
        .filter(|key| !part.contains(&format!("`{}`", key.name)))
        .map(|key| key.name.to_owned())
        .collect();
    report(
        "settings that Kafka does not have, or not like this",
        &findings,
    );
}

#[test]
fn files_that_comments_name_are_there() {
    let sources = sources();
    let there = |name: &str| {
        let end = format!("/{name}");
        sources
            .iter()
            .any(|source| source.path == name || source.path.ends_with(&end))
    };
    let mut findings = Vec::new();
    // A test's own comment may speak of files in general.
    for source in sources.iter().filter(|source| !source.is_test()) {
        for (number, line) in source.text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else {
                continue;
            };
            let quoted = comment.split('`').skip(1).step_by(2);
            for name in quoted.filter(|word| word.ends_with(".rs") && !word.contains(' ')) {
                if !there(name) {
                    findings.push(format!("{}:{}: {name}", source.path, number + 1));
                }
            }
        }
    }
    report("a comment names only files that exist", &findings);
}

#[test]
fn nothing_is_left_to_do() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
    ];
    let mut findings = Vec::new();
    for source in &sources() {
        for (number, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                findings.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    report(
        "limits of the product stand in the README instead",
        &findings,
    );
}
