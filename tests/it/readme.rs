//! README says what is: its tables are compared with what the daemon has.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use callgate::signaling::Code;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README from this heading to the next of its level.
fn section(heading: &str) -> String {
    let readme = file("README.md");
    let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).expect("the section is there");
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The rows of the tables in a section, cells without their backticks.
fn rows(section: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.trim_matches('|').split('|').map(|c| c.trim().trim_matches('`').to_owned()).collect()
    };
    section.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// Every `a.b.key` of a TOML table with its value.
fn flat(table: &toml::Table, under: &str, into: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let key = if under.is_empty() { name.clone() } else { format!("{under}.{name}") };
        match value {
            toml::Value::Table(inner) => flat(inner, &key, into),
            value => assert!(into.insert(key, value.clone()).is_none()),
        }
    }
}

#[test]
fn the_table_of_settings_is_the_default_configuration() {
    let mut shipped = BTreeMap::new();
    flat(&file("config/callgate.toml").parse().unwrap(), "", &mut shipped);
    let mut told = BTreeMap::new();
    for row in rows(&section("Configuration")) {
        let [key, default, meaning] = row.as_slice() else { panic!("three columns: {row:?}") };
        let table: toml::Table = format!("x = {default}").parse().unwrap_or_else(|e| panic!("{key}: {e}"));
        assert!(told.insert(key.clone(), table["x"].clone()).is_none(), "{key} is there twice");
        assert!(!meaning.is_empty(), "{key} means something");
    }
    assert_eq!(told, shipped);
}

#[test]
fn the_table_of_metrics_has_every_metric() {
    let names = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        words.filter(|w| w.starts_with("callgate_")).map(str::to_owned).collect()
    };
    let told: BTreeSet<String> = rows(&section("Metrics")).into_iter().map(|row| row[0].clone()).collect();
    let mut there = names(&file("src/metrics.rs"));
    there.extend(names(&file("src/daemon/figures.rs")));
    assert_eq!(told, there);
}

#[test]
fn every_error_code_is_told() {
    let clients = section("Clients");
    let missing: Vec<_> =
        Code::ALL.iter().map(|code| code.name()).filter(|n| !clients.contains(&format!("`{n}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_it_links_to_is_there() {
    let readme = file("README.md");
    let mut links = 0;
    for (at, _) in readme.match_indices("](") {
        let target = readme[at + 2..].split([')', '#']).next().unwrap();
        if !target.contains("://") && !target.is_empty() {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "{target}");
            links += 1;
        }
    }
    assert!(links > 4, "{links} links");
}

#[test]
fn the_package_can_write_its_secret_into_the_configuration() {
    let config = file("config/callgate.toml");
    let lines = config.lines().filter(|line| *line == "secrets = []").count();
    assert_eq!(lines, 1, "packaging/deb/postinst replaces the line `secrets = []`");
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = file("packaging/deb/changelog");
    assert!(changelog.starts_with(&format!("callgate ({version}-1) ")), "packaging/deb/changelog");
    assert!(file("packaging/deb/callgate.1").contains(&format!("\"callgate {version}\"")), "callgate.1");
}
