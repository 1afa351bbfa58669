//! Who may import whom (ARCHITECTURE.md): read from the `use crate::` lines and every other `crate::` path.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with the modules it may name. A module may always name itself.
const RULES: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    // What changes with a file, for those that watch one.
    ("stamp", &[]),
    ("customer", &[]),
    ("label", &[]),
    ("turns", &[]),
    ("rate", &["customer"]),
    ("auth", &["config", "label", "stamp"]),
    ("cli", &["auth", "config", "daemon", "label", "log", "rooms::RoomId", "turn::credential"]),
    (
        "daemon",
        &[
            "customer",
            "auth",
            "config",
            "gate",
            "http",
            "ice",
            "log",
            "metrics",
            "rate",
            "relay",
            "rooms",
            "shutdown",
            "signaling",
            "store",
            "turn",
            "webhooks",
        ],
    ),
    ("shutdown", &["config"]),
    ("log", &["config"]),
    ("metrics", &["config"]),
    ("config", &[]),
    ("stun", &[]),
    ("turn", &["stun"]),
    ("relay", &["turn", "stun", "config"]),
    ("gate", &["config", "customer", "stamp"]),
    ("webhooks", &["config", "label"]),
    ("rooms", &[]),
    ("store", &["rooms", "config"]),
    ("ice", &["turn::credential"]),
    (
        "signaling",
        &[
            "auth",
            "customer",
            "label",
            "rate",
            "rooms",
            "store",
            "config",
            "ice",
            "turn::credential",
            "turns",
        ],
    ),
    (
        "http",
        &[
            "auth",
            "customer",
            "label",
            "rate",
            "rooms",
            "store",
            "config",
            "ice",
            "metrics",
            "turn::credential",
            "turns",
        ],
    ),
];

/// Modules without IO: no runtime, no socket, no clock, no randomness of their own.
const PURE: &[&str] = &["stun", "turn", "rooms", "rate"];
const IMPURE: &[&str] = &[
    "tokio",
    "socket2",
    "nix::",
    "libc::",
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::env",
    "UdpSocket",
    "tracing::",
    "metrics::",
    "rand::",
    "SystemRandom",
    "std::thread",
];

/// No file of the library may be longer than this.
const LONGEST_FILE: usize = 600;

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut todo = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Tests may use what they like.
                if !path.ends_with("tests") {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let module =
                    inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push((module, inside.to_owned(), text));
            }
        }
    }
    assert!(found.len() > 3, "the walk found no sources");
    found
}

/// The code of a file: comments go, and so does everything from the module with its tests on.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_follow_the_rules() {
    let mut wrong = BTreeSet::new();
    for (module, path, text) in sources() {
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == module) else {
            wrong.insert(format!(
                "src/{}: no rule for module {module}; add one with its reason",
                path.display()
            ));
            continue;
        };
        let code = code(&text);
        for (at, _) in code.match_indices("crate::").chain(code.match_indices("callgate::")) {
            let target = code[at..].split_once("::").map_or("", |(_, rest)| rest);
            assert!(!target.starts_with('{'), "src/{}: one `use crate::` a line, please", path.display());
            let names = |rule: &str| {
                target
                    .strip_prefix(rule)
                    .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            };
            if !names(&module) && !allowed.iter().any(|rule| names(rule)) {
                let line = target.lines().next().unwrap_or_default();
                wrong.insert(format!("src/{}: {module} may not import crate::{line}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_pure_modules_touch_nothing() {
    let mut wrong = Vec::new();
    for (module, path, text) in sources() {
        if PURE.contains(&module.as_str()) {
            let code = code(&text);
            wrong.extend(
                IMPURE
                    .iter()
                    .filter(|word| code.contains(**word))
                    .map(|w| format!("src/{}: {w}", path.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_holds_one_noun() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(_, path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST_FILE)
        .collect();
    assert!(long.is_empty(), "over {LONGEST_FILE} lines: {long:?}");
}

#[test]
fn unsafe_code_stays_in_one_folder() {
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(_, path, text)| !path.starts_with("relay/udp") && code(text).contains("unsafe "))
        .map(|(_, path, _)| path)
        .collect();
    assert!(found.is_empty(), "unsafe outside src/relay/udp: {found:?}");
}
