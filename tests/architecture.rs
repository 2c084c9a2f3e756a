//! Dependencies point one way (DESIGN.md §10): who may name whom, as data, and a check of the
//! sources against it. Test code is free.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt;
use std::path::{Path, PathBuf};

/// The modules of the crate, and those that each may name beside itself.
const MODULES: [(&str, &[&str]); 19] = [
    ("clock", &[]),
    ("password", &[]),
    ("rate", &[]),
    ("tls", &[]),
    ("event", &["clock"]),
    ("rules", &["event", "clock"]),
    ("engine", &["rules", "event", "clock"]),
    ("simulation", &["engine", "rules", "event", "clock"]),
    ("message", &["engine", "rules", "event", "clock"]),
    ("config", &["simulation", "message", "password", "rate", "rules", "tls", "event", "clock"]),
    ("store", &["engine", "rules", "event", "clock"]),
    ("supervisor", &["store"]),
    ("wake", &["store", "engine"]),
    ("metrics", &[]),
    ("ingest", &["metrics", "wake", "store", "engine", "rules", "event", "clock"]),
    ("prune", &["metrics", "store", "engine", "rules", "clock"]),
    ("schedule", &["wake", "store", "engine", "rules", "event", "clock"]),
    (
        "deliver",
        &[
            "lifecycle",
            "metrics",
            "wake",
            "store",
            "engine",
            "message",
            "config",
            "rate",
            "rules",
            "event",
            "clock",
        ],
    ),
    (
        "http",
        &[
            "ingest", "metrics", "password", "rate", "tls", "wake", "store", "engine", "rules",
            "event", "clock",
        ],
    ),
];

/// Where the pieces are put together: these may name any module.
const ROOTS: [&str; 6] = ["app", "cli", "lib", "lifecycle", "logging", "main"];

/// What only these places may name. What is told over HTTP and what is asked over HTTP share
/// nothing but the library: a message is tried once and judged, a command waits for its answer.
const OWNED: [(&str, &[&str]); 13] = [
    ("argon2", &["password"]),
    ("schemars", &["config/schema"]),
    ("prometheus_client", &["metrics"]),
    ("rusqlite", &["store/sqlite"]),
    ("reqwest", &["deliver/receivers", "cli/client"]),
    ("lettre", &["deliver/receivers"]),
    ("resvg", &["deliver/receivers/email"]),
    ("warp", &["http"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
    ("rustls", &["deliver/receivers", "password", "tls"]),
    ("tokio_rustls", &["http/handshake"]),
    ("std::time::SystemTime", &["clock"]),
];

/// The modules that compute and do nothing else.
const PURE: [&str; 6] = ["clock", "event", "rules", "engine", "simulation", "message"];

/// What a pure module may not name.
const IMPURE: [&str; 9] = [
    "tokio",
    "tokio_util",
    "futures_util",
    "reqwest",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
];

#[test]
fn dependencies_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(!files.is_empty(), "no sources in {}", root.display());
    let broken: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
            check(&name, &std::fs::read_to_string(file).unwrap())
        })
        .map(|broken| broken.to_string())
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A line that names what it may not.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "src/{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// What is wrong with this file, `file` being its path below `src`.
fn check(file: &str, source: &str) -> Vec<Broken> {
    let place = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let parts: Vec<&str> = place.split('/').collect();
    if parts.contains(&"tests") {
        return Vec::new();
    }
    let module = parts[0];
    let tokens = tokens(&without_tests(&code_only(source)));
    let mut broken = Vec::new();
    let mut report = |line: usize, rule: String| {
        broken.push(Broken { file: file.to_owned(), line, rule });
    };

    let allowed = MODULES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed);
    if allowed.is_none() && !ROOTS.contains(&module) {
        report(1, format!("`{module}` is in no table of tests/architecture.rs; add it to one"));
    }
    for Named { line, path } in names(&tokens) {
        if let (Some(allowed), Some(other)) = (allowed, own_module(&path, &parts))
            && other != module
            && (MODULES.iter().any(|(name, _)| *name == other) || ROOTS.contains(&other))
            && !allowed.contains(&other)
        {
            report(line, format!("`{module}` may not use `{other}`"));
        }
        for (owned, owners) in OWNED {
            let within = |owner: &&str| place == *owner || place.starts_with(&format!("{owner}/"));
            if starts(&path, owned) && !owners.iter().any(within) {
                let owners = owners.join("` and `");
                report(line, format!("only `{owners}` may use `{owned}`"));
            }
        }
        if PURE.contains(&module)
            && let Some(impure) = IMPURE.into_iter().find(|impure| starts(&path, impure))
        {
            report(line, format!("`{module}` may not use `{impure}`: it is pure"));
        }
    }
    if PURE.contains(&module) {
        for (line, token) in &tokens {
            if ["async", "await"].contains(&token.as_str()) {
                report(*line, format!("`{module}` may not use `{token}`: it is pure"));
            }
        }
    }
    broken
}

/// The module of the crate that a path leads to from the file at `parts`.
fn own_module<'a>(path: &'a [String], parts: &[&str]) -> Option<&'a str> {
    match path.first()?.as_str() {
        "crate" | "tocsin" => path.get(1).map(String::as_str),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            (up == parts.len()).then(|| path.get(up)).flatten().map(String::as_str)
        }
        _ => None,
    }
}

fn starts(path: &[String], prefix: &str) -> bool {
    let mut path = path.iter();
    prefix.split("::").all(|part| path.next().is_some_and(|found| found == part))
}

/// A path as written out, groups unfolded: `use a::{b, c::d}` names `a::b` and `a::c::d`.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    line: usize,
    path: Vec<String>,
}

/// Every path in the code. A lone identifier is a path of one part.
fn names(tokens: &[(usize, String)]) -> Vec<Named> {
    let mut names = Vec::new();
    let mut rest = tokens;
    while !rest.is_empty() {
        rest = match is_name(&rest[0].1) {
            true => unfold(rest, &[], &mut names),
            false => &rest[1..],
        };
    }
    names
}

/// Reads one path, which begins here, and answers what comes after it.
fn unfold<'a>(
    tokens: &'a [(usize, String)],
    before: &[String],
    names: &mut Vec<Named>,
) -> &'a [(usize, String)] {
    let mut path = before.to_vec();
    let line = tokens[0].0;
    let mut rest = tokens;
    loop {
        path.push(rest[0].1.clone());
        rest = &rest[1..];
        match (rest.first().map(text), rest.get(1).map(text)) {
            (Some("::"), Some("{")) => {
                rest = &rest[2..];
                while let Some(next) = rest.first().map(text) {
                    rest = match next {
                        "}" => return &rest[1..],
                        name if is_name(name) => unfold(rest, &path, names),
                        _ => &rest[1..],
                    };
                }
                return rest;
            }
            (Some("::"), Some(name)) if is_name(name) => rest = &rest[1..],
            _ => {
                names.push(Named { line, path });
                return rest;
            }
        }
    }
}

fn text(token: &(usize, String)) -> &str {
    &token.1
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::`, and every other character but white space, each with its line.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let mut tokens = Vec::new();
    for (index, mut rest) in code.lines().enumerate() {
        while let Some(first) = rest.chars().next() {
            let in_name = |character: char| character.is_alphanumeric() || character == '_';
            let length = if in_name(first) {
                rest.find(|character| !in_name(character)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if !first.is_whitespace() {
                tokens.push((index + 1, rest[..length].to_owned()));
            }
            rest = &rest[length..];
        }
    }
    tokens
}

/// The code without its inline test modules, line for line. It rests on rustfmt: a module that is
/// opened on a line ends at the first `}` that stands as far in.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        kept.push_str(line);
        kept.push('\n');
        if line.trim() != "#[cfg(test)]" {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        for line in lines.by_ref() {
            kept.push('\n');
            if line == end || (line.trim_end().ends_with(';') && line.starts_with(indent)) {
                // A `;` before any brace: an item of one line, such as `mod tests;`.
                break;
            }
            if line.trim_end().ends_with('{') {
                kept.extend(lines.by_ref().take_while(|line| *line != end).map(|_| '\n'));
                kept.push('\n');
                break;
            }
        }
    }
    kept
}

/// The source with comments and the insides of literals blanked, line for line.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let after_name = code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let (false, Some(length)) = (after_name, raw_string(rest)) {
            length
        } else if first == '"' {
            quoted(rest, '"').unwrap_or(rest.len())
        } else if first == '\'' {
            character(rest).unwrap_or(0)
        } else {
            0
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    code
}

/// The length of the literal that begins here and ends with the next `quote` not escaped.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(index, character)| {
        let ends = character == quote && !escaped;
        escaped = character == '\\' && !escaped;
        ends.then(|| index + quote.len_utf8())
    })
}

/// The length of the raw string that begins here, if one does.
fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let inside = start[hashes..].strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&closing)? + closing.len();
    Some(text.len() - inside.len() + end)
}

/// The length of the character literal that begins here, if it is one and not a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    let (end, second) = characters.next()?;
    if first == '\\' {
        return quoted(text, '\'');
    }
    (second == '\'').then_some(end + 1)
}

mod the_checker {
    use super::*;

    fn rules(file: &str, source: &str) -> Vec<String> {
        check(file, source).into_iter().map(|broken| broken.to_string()).collect()
    }

    #[test]
    fn names_the_file_the_line_and_the_rule() {
        assert_eq!(
            rules("engine/decide.rs", "//! Decides.\n\nuse tokio::sync::Mutex;\n"),
            ["src/engine/decide.rs:3: `engine` may not use `tokio`: it is pure"]
        );
        assert_eq!(
            rules("store/mod.rs", "use crate::http::Api;"),
            ["src/store/mod.rs:1: `store` may not use `http`"]
        );
    }

    #[test]
    fn sees_through_groups_and_full_paths() {
        assert_eq!(
            rules("event/mod.rs", "use crate::{\n    clock::now,\n    rules::{Rule, Rules},\n};"),
            [
                "src/event/mod.rs:3: `event` may not use `rules`",
                "src/event/mod.rs:3: `event` may not use `rules`",
            ]
        );
        assert_eq!(
            rules("rules/mod.rs", "use std::{fmt, fs};\nfn f() { std::net::lookup() }"),
            [
                "src/rules/mod.rs:1: `rules` may not use `std::fs`: it is pure",
                "src/rules/mod.rs:2: `rules` may not use `std::net`: it is pure",
            ]
        );
        assert_eq!(
            rules("ingest.rs", "use super::deliver;\nuse super::store;"),
            ["src/ingest.rs:1: `ingest` may not use `deliver`"]
        );
        assert_eq!(
            rules("store/sqlite/mod.rs", "use super::super::app::Options;"),
            ["src/store/sqlite/mod.rs:1: `store` may not use `app`"]
        );
    }

    #[test]
    fn knows_who_owns_a_crate() {
        for (file, source) in [
            ("deliver/worker.rs", "use reqwest::Client;"),
            ("store/mod.rs", "fn f(error: rusqlite::Error) {}"),
            ("app.rs", "use hyper_util::rt::TokioIo;"),
            ("cli/serve.rs", "use lettre as mail;"),
            ("cli/silences.rs", "use reqwest::Url;"),
            ("schedule.rs", "use std::time::{Duration, SystemTime};"),
            ("httpd.rs", ""),
        ] {
            assert_eq!(rules(file, source).len(), 1, "{file}: {source}");
        }
        for (file, source) in [
            ("deliver/receivers/slack.rs", "use reqwest::Client;"),
            ("cli/client.rs", "use reqwest::Client;"),
            ("store/sqlite/mod.rs", "use rusqlite::Connection;"),
            ("http/route.rs", "use warp::Filter; use crate::ingest::Ingest; use super::Api;"),
            ("clock.rs", "use std::time::SystemTime;"),
            ("cli/serve.rs", "use crate::app; use super::Exit;"),
        ] {
            assert_eq!(rules(file, source), [""; 0], "{file}: {source}");
        }
    }

    #[test]
    fn refuses_async_where_all_is_pure() {
        let source = "async fn load() {}";
        assert_eq!(
            rules("message/mod.rs", source),
            ["src/message/mod.rs:1: `message` may not use `async`: it is pure"]
        );
        assert_eq!(rules("schedule.rs", source), [""; 0]);
    }

    #[test]
    fn leaves_tests_comments_and_strings_alone() {
        let tests = "#[cfg(test)]\nmod tests {\n    use tokio::time;\n    fn f() {\n    }\n}\n";
        assert_eq!(rules("engine/decide.rs", tests), [""; 0]);
        assert_eq!(rules("engine/decide.rs", &format!("{tests}use tokio::sync;")).len(), 1);
        assert_eq!(rules("engine/tests/fleet.rs", "use tokio::time;"), [""; 0]);
        assert_eq!(rules("engine/mod.rs", "#[cfg(test)]\nmod tests;\nuse tokio::sync;").len(), 1);
        for source in [
            "// use tokio::sync;",
            "/// As [`crate::http`] does.\nfn f() {}",
            "/* use tokio::sync; */",
            "const S: &str = \"tokio::sync \\\" reqwest::get\";",
            "const S: &str = r#\"tokio::sync \" reqwest::get\"#;",
            "const C: char = '\"'; const S: &str = \"tokio::x\"; fn f<'a>(x: &'a str) {}",
        ] {
            assert_eq!(rules("engine/mod.rs", source), [""; 0], "{source}");
        }
        let after = "fn f<'a>() { '\\''; \"//\" } use tokio::sync;";
        assert_eq!(rules("engine/mod.rs", after).len(), 1, "what follows a literal is code");
    }
}
