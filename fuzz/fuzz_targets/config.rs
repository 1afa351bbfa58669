//! Any text as a configuration file, any text as variables: no panic; what is accepted can be printed, and, as printed,
//! means the same; no secret is ever printed.
#![no_main]

use std::path::Path;

use callgate_fuzz::config;
use callgate_fuzz::config::Environment;
use libfuzzer_sys::fuzz_target;

/// Long enough for a secret, and like nothing that the program prints by itself.
const SECRET: &str = "xyzzy-plugh-xyzzy";

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, key, value) = input;
    let text = text.replace("SECRET", SECRET);
    // A real file would be opened, and its content is not part of the input.
    if text.contains("/dev/") || value.contains("/dev/") {
        return;
    }
    let environment = Environment::from([(format!("CALLGATE_{}", key.to_uppercase()), value.to_owned())]);
    let secret_is_key = text.lines().any(|line| !line.contains("secrets") && !line.contains("token") && line.contains(SECRET));
    match config::read(Some(Path::new("fuzz.toml")), &text, &environment) {
        Ok(settings) => {
            let shown = config::show(&settings);
            assert!(secret_is_key || !shown.contains(SECRET), "{shown}");
            if settings.turn.secrets.is_empty() && settings.admin.token.is_none() {
                let again = config::read(None, &shown, &Environment::new()).expect("what was printed is accepted");
                let plain = |settings: config::Settings| config::show(&config::Settings { places: Vec::new(), ..settings });
                assert_eq!(plain(again), plain(settings));
            }
        }
        Err(mistakes) => assert!(!mistakes.0.is_empty() && !mistakes.to_string().is_empty()),
    }
});
