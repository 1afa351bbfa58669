//! The configuration as an operator meets it: files, variables, `callgate check`.

use std::fs;
use std::path::Path;

use callgate::config;
use callgate::config::Environment;

use crate::support::Callgate;
use crate::support::bare;
use crate::support::command;
use crate::support::finish;

#[test]
fn every_example_is_a_good_configuration() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        // An example may name certificates that only its reader has.
        if let Err(mistakes) = config::read(Some(&path), &text, &Environment::new()) {
            for mistake in mistakes.0 {
                let missing =
                    mistake.what.starts_with("/etc/letsencrypt/") && mistake.what.contains("cannot be read");
                assert!(missing, "{}: {mistake}", path.display());
            }
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} examples");
}

#[test]
fn check_prints_what_is_meant_and_masks_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[turn]\nrealm = \"example.org\"\nsecrets = [\"hush-hush-hush-hush\"]\n[admin]\ntoken = \"sesame-open-sesame\"\n";
    let out =
        finish(command(&folder, config).arg("check").env("CALLGATE_ROOMS__GRACE", "5s").env("PORT", "8080"));
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert!(out.stdout.contains("realm = \"example.org\""), "{}", out.stdout);
    assert!(out.stdout.contains("callgate.toml:2"), "{}", out.stdout);
    assert!(out.stdout.contains("grace = \"5s\""), "{}", out.stdout);
    assert!(out.stdout.contains("CALLGATE_ROOMS__GRACE"), "{}", out.stdout);
    let port = out.stdout.lines().find(|line| line.contains("listen = [\"[::]:8080\"]")).unwrap();
    assert!(port.ends_with("# environment variable PORT"), "{port}");
    for secret in ["hush", "sesame"] {
        assert!(!out.stdout.contains(secret) && !out.stderr.contains(secret), "{secret} was printed");
    }
    assert!(out.stdout.contains("secrets = [\"********\"]"), "{}", out.stdout);
}

#[test]
fn a_token_made_on_the_command_line_says_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[auth]\nmode = \"jwt\"\nkey = \"a key of thirty-two characters..\"\nissuer = \"https://a.example\"\n";
    let out = finish(
        command(&folder, config)
            .args(["token", "--user", "ada", "--name", "Ada L.", "--room", "one", "--room", "two"])
            .args(["--role", "moderator", "--ttl", "5m"]),
    );
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    let settings = config::read(None, config, &Environment::new()).unwrap();
    let tokens = callgate::auth::Tokens::new(callgate::auth::Keyring::read(&settings.auth).unwrap());
    let it = tokens.verify(out.stdout.trim()).unwrap();
    assert_eq!((&*it.user, it.name.as_deref()), ("ada", Some("Ada L.")));
    assert_eq!(it.role, callgate::auth::Role::Moderator);
    assert!(it.allows("one") && it.allows("two") && !it.allows("three"));
    let out = finish(command(&folder, "").arg("token"));
    assert_eq!(out.code, Some(1));
    assert!(out.stderr.contains("there is no secret to sign with; set auth.key"), "{}", out.stderr);
    for (config, arguments, why) in [
        (config, &["token", "--role", "king"][..], "write user, moderator or admin"),
        (config, &["token", "--user", "a b"], "a user is 1 to 128 visible ASCII characters"),
        (config, &["token", "--user", ""], "a user is 1 to 128 visible ASCII characters"),
        (config, &["token", "--name", " "], "not only blanks"),
        (config, &["token", "--name", "a\u{1b}b"], "no control characters"),
        (config, &["token", "--ttl", "0s"], "it would have expired at once"),
        (config, &["token", "--ttl", "999ms"], "it would have expired at once"),
        (config, &["token", "--ttl", "soon"], "write a number and its unit"),
        (config, &["token", "--room", "tea", "--room", "a b"], "a room's id is 1 to 64 of A-Z a-z 0-9 _ -"),
        (config, &["token", "--room", ""], "a room's id is 1 to 64 of A-Z a-z 0-9 _ -"),
    ] {
        let out = finish(command(&folder, config).args(arguments));
        assert_eq!(out.code, Some(2), "{}", out.stderr);
        assert!(out.stdout.is_empty() && out.stderr.contains(why), "{}", out.stderr);
    }
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    fs::write(folder.path().join("key.pem"), pem).unwrap();
    let config = format!("[auth]\nkey = {:?}\n", folder.path().join("key.pem"));
    let out = finish(command(&folder, &config).arg("token"));
    assert_eq!(out.code, Some(1));
    assert!(out.stderr.contains("a public key, which signs nothing"), "{}", out.stderr);
}

#[test]
fn keys_of_tokens_that_cannot_be_used_are_mistakes_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let config = format!("[auth]\nmode = \"jwt\"\njwks = {path:?}\n");
    for (content, why) in [
        ("hello", "not a JWKS"),
        ("{\"keys\":[]}", "it is empty"),
        ("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}", "RSA of under 2048"),
    ] {
        fs::write(&path, content).unwrap();
        for arguments in [&["check"][..], &["reload"], &["serve"]] {
            let out = finish(command(&folder, &config).args(arguments));
            assert_eq!(out.code, Some(2), "{}", out.stderr);
            let said = out.stderr + &out.stdout;
            assert!(said.contains("callgate.toml:3: auth.jwks: ") && said.contains(why), "{said}");
        }
    }
    let config = "[auth]\nkey = \"\"\"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n\"\"\"\n";
    let out = finish(command(&folder, config).arg("check"));
    assert_eq!(out.code, Some(2), "{}", out.stderr);
    assert!(
        out.stderr.contains("callgate.toml:2: auth.key: the public key: not a public key"),
        "{}",
        out.stderr
    );
}

#[test]
fn check_warns_of_an_address_that_is_not_on_this_host() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[public]\naddresses = [\"203.0.113.7/203.0.113.8\"]\n";
    let out = finish(command(&folder, config).arg("check"));
    assert_eq!(out.code, Some(0), "the network may come later: {}", out.stderr);
    for wanted in ["warning", "callgate.toml:2", "203.0.113.8 is not an address of this host"] {
        assert!(out.stderr.contains(wanted), "{wanted:?} is not in {}", out.stderr);
    }
    let out = finish(command(&folder, "public.addresses = [\"5.9.1.2/127.0.0.1\"]\n").arg("check"));
    assert!(out.code == Some(0) && out.stderr.is_empty(), "{}", out.stderr);
    let out = finish(command(&folder, "public.addresses = [\"10.0.0.5/127.0.0.1\"]\n").arg("check"));
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    assert!(out.stderr.contains("10.0.0.5 is not an address of the internet"), "{}", out.stderr);
}

#[test]
fn a_port_of_turn_that_takes_one_of_ours_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let config = "http.listen = [\"127.0.0.1:3478\"]\n";
    for argument in ["check", "reload"] {
        let out = finish(command(&folder, config).arg(argument));
        assert_eq!(out.code, Some(2), "{}", out.stderr);
        assert!(
            out.stderr.contains("turn.listen") && out.stderr.contains("127.0.0.1:3478"),
            "{}",
            out.stderr
        );
    }
}

#[test]
fn all_mistakes_come_at_once_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[turn]\nrelm = \"x\"\nrelay_ports = \"9-1\"\n\n[htpp]\nlisten = []\n";
    for argument in ["check", "serve"] {
        let out = finish(command(&folder, config).arg(argument).env("CALLGATE_TURN__WORKERS", "many"));
        assert_eq!(out.code, Some(2), "{}", out.stderr);
        for wanted in [
            "4 configuration mistakes",
            "callgate.toml:2: turn.relm: there is no such key; did you mean turn.realm?",
            "callgate.toml:3: turn.relay_ports: 9 is above 1; write \"1-9\"",
            "callgate.toml:5: htpp: there is no such section; did you mean http?",
            "environment variable CALLGATE_TURN__WORKERS: turn.workers: this is not a whole number",
        ] {
            assert!(out.stderr.contains(wanted), "{wanted:?} is not in\n{}", out.stderr);
        }
        assert_eq!(out.stdout, "");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = finish(bare(&folder).args(["check", "--config", "/nowhere/callgate.toml"]));
    assert_eq!(out.code, Some(2));
    assert!(out.stderr.contains("/nowhere/callgate.toml"), "{}", out.stderr);
}

#[test]
fn a_key_that_is_not_the_certificates_is_a_mistake_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let one = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&certificate, one.cert.pem()).unwrap();
    fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let config = format!("[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let out = finish(command(&folder, &config).arg("check"));
    assert_eq!(out.code, Some(2), "{}", out.stderr);
    assert!(out.stderr.contains("key.pem"), "{}", out.stderr);
}

#[test]
fn tokens_that_nobody_needs_are_warned_of_by_check_and_at_the_start() {
    let warned = |auth: &str| {
        let folder = tempfile::tempdir().unwrap();
        let out = finish(command(&folder, &format!("[auth]\n{auth}")).arg("check"));
        assert_eq!(out.code, Some(0), "{}", out.stderr);
        out.stderr.contains("callgate.toml:2: auth.key: auth.mode is \"open\"")
    };
    let key = "key = \"a key of thirty-two characters..\"\n";
    assert!(warned(key));
    assert!(!warned(&format!("{key}mode = \"jwt\"\n")) && !warned(""));
    let daemon = Callgate::start(&format!("[auth]\n{key}"));
    assert!(
        daemon.log().iter().any(|line| line.to_string().contains("Set auth.mode = ")),
        "{:#?}",
        daemon.log()
    );
}

#[test]
fn what_cannot_be_used_is_found_by_check_and_no_reason_to_start_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, kind: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")).unwrap();
        path
    };
    let (ca, key) = (file("ca.pem", "CERTIFICATE"), file("key.pem", "PUBLIC KEY"));
    let listen = "http.listen = [\"127.0.0.1:0\"]\nturn.listen = [\"127.0.0.1:0\"]\n";
    let made = ["one", "two"].map(|name| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join(name), folder.path().join(format!("{name}-key")));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    });
    for (config, place, commands) in [
        (
            format!(
                "tls.listen = [\"127.0.0.1:0\"]\ntls.certificate = {:?}\ntls.key = {:?}\n",
                made[0].0, made[1].1
            ),
            "callgate.toml:5: tls.key",
            &["check", "reload", "serve"][..],
        ),
        (
            "webhooks.urls = [\"https://hooks..example.org/\"]\n".to_owned(),
            "callgate.toml:3: webhooks.urls",
            &["check", "reload", "serve"],
        ),
        (
            format!("webhooks.join_url = \"https://hooks.example.org\"\nwebhooks.ca = {ca:?}\n"),
            "callgate.toml:4: webhooks.ca",
            &["check", "reload", "serve"],
        ),
        (
            format!("auth.key = {key:?}\n"),
            "callgate.toml:3: auth.key",
            &["check", "reload", "serve", "token"],
        ),
    ] {
        for argument in commands {
            let out = finish(command(&folder, &format!("{listen}{config}")).arg(argument));
            assert_eq!(out.code, Some(2), "{argument} {config}: {}", out.stderr);
            assert!(out.stderr.contains(place), "{argument}: {place:?} is not in {}", out.stderr);
        }
    }
}

#[test]
fn credentials_are_of_the_daemons_own_secret() {
    let folder = tempfile::tempdir().unwrap();
    let make = || finish(bare(&folder).args(["credentials", "--user", "alice", "--ttl", "5m"]));

    let state = folder.path().join("state");
    let out = make();
    assert_eq!(out.code, Some(1), "{}", out.stdout);
    assert!(out.stderr.contains(&*state.to_string_lossy()), "{}", out.stderr);
    assert!(!state.exists(), "a secret of its own would open nothing");

    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("turn-secret"), "what the daemon has kept\n").unwrap();
    let out = make();
    assert_eq!(out.code, Some(0), "{}", out.stderr);
    let made: serde_json::Value = serde_json::from_str(&out.stdout).unwrap();
    let (expiry, user) = made["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!((user, &made["ttl"]), ("alice", &serde_json::json!(300)));
    let secret = secrecy::SecretString::from("what the daemon has kept");
    let same = callgate::turn::credential::mint(&secret, user, expiry.parse().unwrap());
    assert_eq!(made["password"], same.password);
    for (arguments, why) in [
        (["--ttl", "0s"], "it would have expired at once"),
        (["--user", "room-member/abc"], "made with a join alone"),
        (["--user", "a\nb"], "no control characters"),
        (["--user", &"x".repeat(129)], "up to 128 bytes"),
    ] {
        let out = finish(bare(&folder).arg("credentials").args(arguments));
        assert_eq!(out.code, Some(2), "{}", out.stderr);
        assert!(out.stdout.is_empty() && out.stderr.contains(why), "{}", out.stderr);
    }
}
