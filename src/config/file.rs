//! The configuration as written: a TOML file with the environment over it, joined by figment, every value with its place.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

use figment::Figment;
use figment::Metadata;
use figment::Profile;
use figment::Provider;
use figment::value::Dict;
use figment::value::Map;
use figment::value::Value;
use toml::de::DeTable;
use toml::de::DeValue;

use super::mistake::Mistake;
use super::mistake::Place;
use super::nearest;

/// The process's environment, or what a test says it is.
pub type Environment = BTreeMap<String, String>;

/// What every variable of ours begins with. The part behind it is `SECTION__KEY`; a name without `__` is not ours
/// (Kubernetes sets `CALLGATE_PORT` and the like for a service of this name).
const PREFIX: &str = "CALLGATE_";

/// A value on its way from its place into a setting.
pub(super) struct Raw<'a> {
    /// The value. One from the environment is always a string.
    pub(super) value: &'a Value,
    /// Whether a string may stand for a number or a list.
    pub(super) environment: bool,
}

/// The values as written, and the mistakes found so far.
pub(super) struct Written {
    root: Value,
    environment: BTreeSet<String>,
    file: PathBuf,
    /// Dotted keys (with `[n]` for elements) and the lines they stand on.
    lines: BTreeMap<String, usize>,
    /// Lines the TOML parser complained about: what it made of them is not worth a second complaint.
    broken: BTreeSet<usize>,
    known: Vec<String>,
    mistakes: Vec<Mistake>,
}

impl Written {
    /// Reads `text`, the content of `file`, and puts the environment over it.
    pub(super) fn new(file: &Path, text: &str, environment: &Environment) -> Self {
        let mut written = Self {
            root: Value::from(Dict::new()),
            environment: BTreeSet::new(),
            file: file.to_owned(),
            lines: BTreeMap::new(),
            broken: BTreeSet::new(),
            known: Vec::new(),
            mistakes: Vec::new(),
        };
        let starts = line_starts(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(0, |span| line_of(&starts, span.start));
            if written.broken.insert(line) {
                let what = format!("this is not TOML: {}", error.message());
                written.mistakes.push(Mistake { place: written.at_line(line), key: String::new(), what });
            }
        }
        written.broken.append(&mut adrift(text, &written.broken));
        let table = dict(table.get_ref(), "", &starts, &mut written.lines);
        let variables = written.variables(environment);
        let figment = Figment::new()
            .merge(Layer { name: "file", dict: table })
            .merge(Layer { name: "environment", dict: variables });
        if let Ok(root) = figment.find_value("") {
            written.root = root;
        }
        written
    }

    /// The environment's part as nested tables; the names of the variables are remembered.
    fn variables(&mut self, environment: &Environment) -> Dict {
        let mut dict = Dict::new();
        for (name, text) in environment {
            let Some((section, key)) = name.strip_prefix(PREFIX).and_then(split) else { continue };
            insert(&mut dict, &section, key, text);
            self.environment.insert(name.to_uppercase());
        }
        dict
    }

    /// The setting `key`, read by `read`, or `default` when it is not written or wrong.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        default: T,
        read: impl FnOnce(&Raw<'_>) -> Result<T, Vec<Wrong>>,
    ) -> T {
        self.known.push(key.to_owned());
        let Some(value) = self.root.find_ref(key).cloned() else { return default };
        let raw = Raw { value: &value, environment: self.is_environment(key) };
        match read(&raw) {
            Ok(value) => value,
            Err(wrongs) => {
                for wrong in wrongs {
                    self.wrong(key, wrong);
                }
                default
            }
        }
    }

    /// Notes a mistake at a key, where the key is written.
    pub(super) fn wrong(&mut self, key: &str, wrong: Wrong) {
        let element = wrong.element.map(|n| format!("{key}[{n}]"));
        let place = match &element {
            Some(element) if !self.is_environment(key) => {
                self.lines.get(element).map_or_else(|| self.place(key), |line| self.at_line(*line))
            }
            _ => self.place(key),
        };
        if let Place::File { line, .. } = &place
            && self.broken.contains(line)
        {
            return;
        }
        self.mistakes.push(Mistake {
            place,
            key: element.unwrap_or_else(|| key.to_owned()),
            what: wrong.what,
        });
    }

    /// Notes a mistake in a variable that is not one of the `CALLGATE_` ones.
    pub(super) fn wrong_variable(&mut self, name: &str, what: String) {
        let place = Place::Environment(name.to_owned());
        self.mistakes.push(Mistake { place, key: String::new(), what });
    }

    /// Whether the key is written anywhere.
    pub(super) fn has(&self, key: &str) -> bool {
        self.root.find_ref(key).is_some()
    }

    /// Where the key is written.
    pub(super) fn place(&self, key: &str) -> Place {
        if self.is_environment(key) {
            return Place::Environment(variable(key));
        }
        self.lines.get(key).map_or(Place::Missing, |line| self.at_line(*line))
    }

    /// The keys asked for so far.
    pub(super) fn keys(&self) -> Vec<String> {
        self.known.clone()
    }

    /// Whether something is already wrong with the key, or with an element of its list.
    pub(super) fn has_mistake(&self, key: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key.split('[').next() == Some(key))
    }

    /// Whether something is already wrong in the section.
    pub(super) fn has_mistake_in(&self, section: &str) -> bool {
        self.mistakes.iter().any(|mistake| mistake.key.split('.').next() == Some(section))
    }

    /// Everything that was written but never asked for is a mistake too; all of them, in order.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        let root = self.root.clone();
        if let Value::Dict(_, dict) = &root {
            self.unknown("", dict);
        }
        self.mistakes.sort();
        self.mistakes
    }

    fn unknown(&mut self, path: &str, dict: &Dict) {
        for (name, value) in dict {
            let key = join(path, name);
            if self.known.contains(&key) && !name.contains('.') {
                continue;
            }
            let section = self.known.iter().any(|k| k.starts_with(&format!("{key}.")));
            match value {
                Value::Dict(_, inner) if section => self.unknown(&key, inner),
                Value::Dict(_, inner) if self.is_environment_below(&key) => self.unknown(&key, inner),
                Value::Dict(..) => {
                    let sections: BTreeSet<&str> = self
                        .known
                        .iter()
                        .filter_map(|k| k.rsplit_once('.').map(|(section, _)| section))
                        .collect();
                    let what = unknown("section", nearest::nearest(&key, sections.iter().copied()));
                    self.wrong(&key, Wrong::from(what));
                }
                _ if section => {
                    self.wrong(
                        &key,
                        Wrong::from(format!("this is a section; write [{key}] and its keys below")),
                    );
                }
                _ => {
                    let near = nearest::nearest(&key, self.known.iter().map(String::as_str));
                    let near = near.map(str::to_owned);
                    let what = if self.is_environment(&key) {
                        unknown("key", near.map(|k| variable(&k)).as_deref())
                    } else {
                        unknown("key", near.as_deref())
                    };
                    self.wrong(&key, Wrong::from(what));
                }
            }
        }
    }

    fn is_environment(&self, key: &str) -> bool {
        self.environment.contains(&variable(key))
    }

    fn is_environment_below(&self, key: &str) -> bool {
        let prefix = format!("{}__", variable(key));
        self.environment.iter().any(|name| name.starts_with(&prefix))
    }

    fn at_line(&self, line: usize) -> Place {
        Place::File { path: self.file.clone(), line }
    }
}

/// The lines below a section's name that is broken, up to the next one: whose keys those are nobody knows.
fn adrift(text: &str, broken: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut adrift = false;
    let mut lines = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with('[') {
            adrift = broken.contains(&number);
        } else if adrift {
            lines.insert(number);
        }
    }
    lines
}

/// What is wrong with a value, or with one element of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Which element, from 0.
    pub(super) element: Option<usize>,
    /// What is wrong, and the mend.
    pub(super) what: String,
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self { element: None, what }
    }
}

/// One source of values for figment.
struct Layer {
    name: &'static str,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

/// The name of the environment variable of a key: `turn.realm` is `CALLGATE_TURN__REALM`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// `TURN__REALM` is `["turn"]` and `realm`; what has no `__` is not ours.
fn split(name: &str) -> Option<(Vec<String>, String)> {
    let mut parts: Vec<String> = name.split("__").map(str::to_lowercase).collect();
    let key = parts.pop()?;
    if parts.is_empty() || key.is_empty() || parts.iter().any(String::is_empty) {
        return None;
    }
    Some((parts, key))
}

/// Puts a value into nested tables, making those that are missing.
fn insert(dict: &mut Dict, section: &[String], key: String, text: &str) {
    let Some((first, rest)) = section.split_first() else {
        dict.insert(key, Value::from(text));
        return;
    };
    let inner = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
    // A variable for a key and another for a key below it cannot both be right: the longer one is not known anyway.
    if !matches!(inner, Value::Dict(..)) {
        *inner = Value::from(Dict::new());
    }
    if let Value::Dict(_, inner) = inner {
        insert(inner, rest, key, text);
    }
}

fn unknown(noun: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("there is no such {noun}; did you mean {near}?"),
        None => format!("there is no such {noun}; take it out"),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The table as figment's, noting the line of every key and element.
fn dict(table: &DeTable<'_>, path: &str, starts: &[usize], lines: &mut BTreeMap<String, usize>) -> Dict {
    let mut dict = Dict::new();
    for (name, inner) in table {
        let key = join(path, name.get_ref());
        lines.insert(key.clone(), line_of(starts, name.span().start));
        dict.insert(name.get_ref().clone().into_owned(), value(inner.get_ref(), &key, starts, lines));
    }
    dict
}

fn value(from: &DeValue<'_>, key: &str, starts: &[usize], lines: &mut BTreeMap<String, usize>) -> Value {
    match from {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i128::from_str_radix(&digits, number.radix()).map_or_else(|_| Value::from(digits), Value::from)
        }
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| Value::from(number.as_str()), Value::from)
        }
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(array) => {
            let mut values = Vec::new();
            for (n, inner) in array.iter().enumerate() {
                let key = format!("{key}[{n}]");
                lines.insert(key.clone(), line_of(starts, inner.span().start));
                values.push(value(inner.get_ref(), &key, starts, lines));
            }
            Value::from(values)
        }
        DeValue::Table(table) => Value::from(dict(table, key, starts, lines)),
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

/// The line, from 1, that holds byte `at`.
fn line_of(starts: &[usize], at: usize) -> usize {
    starts.partition_point(|start| *start <= at).max(1)
}
