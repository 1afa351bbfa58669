use secrecy::ExposeSecret;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(text: &str) -> Result<Settings, Mistakes> {
    read(Some(Path::new("c.toml")), text, &Environment::new())
}

/// The mistakes as they are printed.
fn mistakes(text: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let found = read(Some(Path::new("c.toml")), text, &environment(pairs)).unwrap_err();
    found.0.iter().map(Mistake::to_string).collect()
}

/// What `check` prints, without the places.
fn shown(settings: &Settings) -> String {
    show(&Settings { places: Vec::new(), ..settings.clone() })
}

#[test]
fn the_shipped_file_holds_every_key_at_its_default() {
    let text = include_str!("../../config/callgate.toml");
    let shipped = parse(text).unwrap();
    let built_in = read(None, "", &Environment::new()).unwrap();
    assert_eq!(shown(&shipped), shown(&built_in));
    let keys = shown(&built_in).lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(
        shipped.places.len(),
        keys,
        "a key is missing from config/callgate.toml: {:#?}",
        shipped.places
    );
}

#[test]
fn what_check_prints_means_the_same() {
    let text = include_str!("../../config/examples/behind-nat.toml");
    let settings = parse(text).unwrap();
    assert_eq!(shown(&parse(&show(&settings)).unwrap()), shown(&settings));
    assert!(show(&settings).contains("relay_ports = \"50000-59999\""), "{}", show(&settings));
    assert!(show(&settings).contains("# c.toml:8"), "{}", show(&settings));
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "[turn]\nrealm = \"file\"\nworkers = 2\n";
    let pairs = [
        ("CALLGATE_TURN__REALM", "variable"),
        ("CALLGATE_TURN__LIMITS__CHANNELS", "7"),
        ("CALLGATE_HTTP__ORIGINS", "https://a.example, https://b.example"),
        ("CALLGATE_HTTP__LISTEN", "[::1]:80"),
        ("CALLGATE_TURN__LISTEN", r#"["[::1]:1", "127.0.0.1:1"]"#),
    ];
    let settings = read(Some(Path::new("c.toml")), text, &environment(&pairs)).unwrap();
    assert_eq!(settings.turn.realm, "variable");
    assert_eq!(settings.turn.workers, 2);
    assert_eq!(settings.turn.limits.channels, 7);
    assert_eq!(settings.http.origins, ["https://a.example", "https://b.example"]);
    assert_eq!(settings.http.listen, ["[::1]:80".parse().unwrap()]);
    assert_eq!(settings.turn.listen.len(), 2);
    let place = settings.places.iter().find(|(key, _)| key == "turn.realm").map(|(_, place)| place);
    assert_eq!(place, Some(&Place::Environment("CALLGATE_TURN__REALM".to_owned())));
}

#[test]
fn port_and_client_url_are_understood() {
    let pairs = [("PORT", "8080"), ("CLIENT_URL", "https://App.example.org:443/room/1?x=y")];
    let settings = read(None, "", &environment(&pairs)).unwrap();
    assert_eq!(settings.http.listen, ["[::]:8080".parse().unwrap()]);
    assert_eq!(settings.http.origins, ["https://app.example.org"]);
    let wrong = mistakes("", &[("PORT", "eighty"), ("CLIENT_URL", "my site")]);
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
    assert!(
        wrong.iter().any(|m| m.starts_with("environment variable PORT: \"eighty\" is not a port")),
        "{wrong:#?}"
    );
    assert!(wrong.iter().any(|m| m.starts_with("environment variable CLIENT_URL: ")), "{wrong:#?}");
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_mend() {
    let text = r#"
[turn]
relm = "x"
realm = 5
relay_ports = "60000-50000"
credential_ttl = "1 hour"
secrets = ["long enough for a secret", "hunter2"]
listen = ["3478"]
workers = "many"

[turn.peers]
deny = ["10.1.2.3/8", "10.0.0.0/8", "fe80::/200"]

[http]
origins = ["app.example.org"]

[room]
capacity = 3

[tls]
listen = ["[::]:443"]
certificate = "/nowhere/cert.pem"
"#;
    let wrong = mistakes(text, &[("CALLGATE_ROOMS__CAPACITY", "1"), ("CALLGATE_ROOMS__GRAZE", "1s")]);
    let expected = [
        "c.toml:3: turn.relm: there is no such key; did you mean turn.realm?",
        "c.toml:4: turn.realm: 5 is a number; write \"callgate\" in quotes",
        "c.toml:5: turn.relay_ports: 60000 is above 50000; write \"50000-60000\"",
        "c.toml:6: turn.credential_ttl: \"1 hour\" is not a time",
        "c.toml:7: turn.secrets[1]: too short to be a secret",
        "c.toml:8: turn.listen[0]: \"3478\" is not an address with a port; write \"[::]:3478\"",
        "c.toml:9: turn.workers: this is not a whole number",
        "c.toml:12: turn.peers.deny[0]: \"10.1.2.3/8\" has bits set behind /8; write \"10.0.0.0/8\"",
        "c.toml:12: turn.peers.deny[2]: /200 is too long",
        "c.toml:15: http.origins[0]: \"app.example.org\" is not an origin; write \"https://app.example.org\"",
        "c.toml:17: room: there is no such section; did you mean rooms?",
        "c.toml:21: tls.listen: a TLS port needs tls.key too",
        "c.toml:22: tls.certificate: /nowhere/cert.pem cannot be read",
        "environment variable CALLGATE_ROOMS__CAPACITY: rooms.capacity: 1 is out of range; write a whole number from 2 to 1000",
        "environment variable CALLGATE_ROOMS__GRAZE: rooms.graze: there is no such key; did you mean CALLGATE_ROOMS__GRACE?",
    ];
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
    for (found, expected) in wrong.iter().zip(expected) {
        assert!(found.starts_with(expected), "found    {found}\nexpected {expected}");
    }
    assert!(!wrong.iter().any(|m| m.contains("hunter2")), "a secret was printed");
}

#[test]
fn a_realm_fits_into_the_answer_to_a_first_request() {
    let of = |realm: &str| mistakes(&format!("[turn]\nrealm = '{realm}'"), &[]);
    assert!(parse(&format!("[turn]\nrealm = \"{}\"", "x".repeat(32))).is_ok());
    assert!(of(&"x".repeat(33))[0].contains("33 bytes; a realm has up to 32, or the answer"));
    assert!(of(&"é".repeat(17))[0].contains("34 bytes"));
    assert!(of("")[0].contains("1 to 32 bytes") && of("a\"b")[0].contains("no quotes"));
}

#[test]
fn broken_toml_is_told_with_its_line_and_hides_no_other_mistake() {
    let wrong = mistakes("[turn]\nrealm = \nworkers = 1000\n[http\nlisten = []\n", &[]);
    assert!(wrong.iter().any(|m| m.starts_with("c.toml:2: this is not TOML")), "{wrong:#?}");
    assert!(
        wrong.iter().any(|m| m.starts_with("c.toml:3: turn.workers: 1000 is out of range")),
        "{wrong:#?}"
    );
    assert!(wrong.iter().any(|m| m.starts_with("c.toml:4: this is not TOML")), "{wrong:#?}");
    // Keys below a broken name are nobody's: nothing is wrong with them.
    for before in ["", "[turn]\nworkers = 1\n"] {
        let wrong = mistakes(&format!("{before}[rooms\ncapacity = 3\n[http]\nport = 1\n"), &[]);
        assert_eq!(wrong.len(), 2, "{wrong:#?}");
        assert!(wrong[0].contains("this is not TOML") && wrong[1].contains("http.port"), "{wrong:#?}");
    }
}

#[test]
fn a_time_that_is_no_text_is_told_what_to_write() {
    let of = |value: &str| mistakes(&format!("[rooms]\ngrace = {value}\n"), &[]).remove(0);
    assert!(of("30").ends_with("30 is a number; write a time with its unit, like \"30s\", in quotes"));
    assert!(of("true").ends_with("this is true or false; write a time with its unit, like \"30s\""));
}

#[test]
fn keys_that_need_each_other_say_so() {
    let one = |text| {
        let found = mistakes(text, &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    assert!(one("http.listen = []").contains("nothing to listen on"));
    assert!(one("turn.relay_ports = \"3000-4000\"").contains("holds the port of turn.listen"));
    assert!(one("http.listen = [\"[::]:80\", \"[::]:80\"]").contains("listened on twice"));
    assert!(one("http.listen = [\"[::]:80\", \"0.0.0.0:80\"]").contains("[::]:80 takes 0.0.0.0:80 too"));
    parse("http.listen = [\"0.0.0.0:80\", \"[::1]:80\"]").unwrap();
    assert!(one("public.addresses = [\"192.0.2.1\", \"192.0.2.2\"]").contains("more than one IPv4 address"));
    assert!(one("public.addresses = [\"192.0.2.1/::1\"]").contains("two families"));
    assert!(one("turn = 5").contains("this is a section; write [turn]"));
    assert!(one("turn.realm = [\"a\"]").contains("this is a list"));
    assert!(one("turn.realm = 1979-05-27\nturn.x = 1").contains("no such key"), "a date is read as its text");
}

#[test]
fn nothing_is_passed_over_in_silence() {
    let one = |text: &str, pairs: &[(&str, &str)]| {
        let found = mistakes(text, pairs);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    assert!(one("http.listen = []\ntls.listen = []", &[]).contains("nothing to listen on"));
    for filter in ["warning", "inof", "info,wran"] {
        let text = format!("log.filter = {filter:?}");
        assert!(one(&text, &[]).contains("is no filter"), "{filter}");
    }
    assert!(one("http.origins = [\"https://*.example.org\"]", &[]).contains("list each origin"));
    assert!(one("\"turn.realm\" = \"x\"", &[]).contains("no such key"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let tls = mistakes(
        &format!(
            "tls.listen = [\"443\"]
tls.key = {path:?}"
        ),
        &[],
    );
    assert!(!tls.iter().any(|m| m.contains("no port uses it")), "{tls:#?}");
    for filter in ["info", "OFF", "info,callgate::relay=debug", "callgate=debug,h2=warn", "callgate::relay"] {
        parse(&format!("log.filter = {filter:?}")).unwrap();
    }
    let lower = environment(&[("CALLGATE_turn__workers", "2")]);
    assert_eq!(read(None, "", &lower).unwrap().turn.workers, 2);
}

#[test]
fn a_secret_of_digits_is_in_no_complaint() {
    let wrong = mistakes("turn.secrets = [123456789012345]\nadmin.token = 987654321987\n", &[]);
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
    assert!(!wrong.iter().any(|m| m.contains("123456789012345") || m.contains("987654321987")), "{wrong:#?}");
}

#[test]
fn what_opens_everything_to_whoever_guesses_it_is_long() {
    let wrong = mistakes("[admin]\ntoken = \"fifteen is less\"\n", &[]);
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    let expected = "c.toml:2: admin.token: too short to be a secret; write at least 16 random characters";
    assert_eq!(wrong[0], expected);
    parse("[admin]\ntoken = \"sixteen or more.\"\n").unwrap();
}

#[test]
fn a_certificate_file_without_a_certificate_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pem");
    fs::write(&path, "hello").unwrap();
    let text = format!("[tls]\nlisten = [\"[::]:443\"]\ncertificate = {path:?}\nkey = {path:?}\n");
    let wrong = mistakes(&text, &[]);
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
    assert!(wrong[0].contains("holds no certificate in PEM form"), "{wrong:#?}");
    assert!(wrong[1].contains("holds no private key in PEM form"), "{wrong:#?}");
    let wrong = mistakes("[tls]\nkey = \"/etc/hostname\"\n", &[]);
    assert_eq!(wrong.len(), 2, "{wrong:#?}");
}

#[test]
fn keys_of_tokens_are_secrets_or_public_and_what_looks_like_a_path_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("issuer.pem");
    let auth = |key: &str| mistakes(&format!("auth.key = {key:?}"), &[]);
    for (content, why) in [
        ("hello", "holds no public key in PEM form"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "is a private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n", "is a private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "openssl x509 -pubkey"),
    ] {
        fs::write(&pem, content).unwrap();
        let wrong = auth(pem.to_str().unwrap());
        assert!(wrong.len() == 1 && wrong[0].contains(why) && wrong[0].contains("issuer.pem"), "{wrong:#?}");
    }
    fs::write(&pem, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n").unwrap();
    let settings = parse(&format!("auth.key = {:?}", pem.to_str().unwrap())).unwrap();
    assert!(matches!(&settings.auth.key, Some(AuthKey::Public { file: Some(file), .. }) if *file == pem));
    assert!(show(&settings).contains("issuer.pem"));
    // A path that is not there is no secret, however long it is.
    for path in [
        "/etc/callgate/keys/of/the/issuer/of/tokens",
        "./keys/of/the/issuer/of/our/tokens.txt",
        "the-issuers-key-of-tokens-in-a-file.pem",
    ] {
        let wrong = auth(path);
        assert!(wrong.len() == 1 && wrong[0].contains("cannot be read"), "{wrong:#?}");
        assert!(
            wrong[0].contains("write it by `openssl rand -hex 32` if it is meant to be one"),
            "{wrong:#?}"
        );
    }
    let wrong = auth("short but secret");
    assert!(wrong[0].contains("at least 32") && !wrong[0].contains("short but"), "{wrong:#?}");
    let secret = parse("auth.key = \"a key of thirty-two characters..\"").unwrap();
    assert!(matches!(secret.auth.key, Some(AuthKey::Secret(_))));
    for text in [show(&secret), format!("{secret:?}")] {
        assert!(!text.contains("thirty-two"), "{text}");
    }
    let inline = "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----";
    let inline = read(None, "", &environment(&[("CALLGATE_AUTH__KEY", inline)])).unwrap();
    assert!(
        matches!(&inline.auth.key, Some(AuthKey::Public { file: None, pem }) if pem.lines().count() == 3)
    );
}

#[test]
fn who_may_is_said_whole_or_not_at_all() {
    let one = |text: &str| {
        let found = mistakes(&format!("[auth]\n{text}"), &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        found[0].clone()
    };
    let key = "key = \"a key of thirty-two characters..\"\n";
    assert!(
        one("mode = \"jwt\"")
            .starts_with("c.toml:2: auth.mode: \"jwt\" needs something to verify tokens with; set auth.key")
    );
    assert!(one("mode = \"token\"").contains("write \"open\" or \"jwt\""));
    assert!(one("mode = \"jwt\"\nkey = \"short\"").contains("auth.key: too short"));
    let short = one("api_keys = [\"sixteen or more.\", \"fifteen is less\"]");
    assert!(
        short.starts_with("c.toml:2: auth.api_keys[1]: too short") && short.contains("at least 16"),
        "{short}"
    );
    assert!(
        one("mode = \"jwt\"\njwks = \"/nowhere/jwks.json\"").contains("/nowhere/jwks.json cannot be read")
    );
    assert!(one("jwks = \"https://login.example.org/jwks\"").contains("have a timer fetch it"));
    assert!(one("cookie = \"session\"").contains("no token can be verified"));
    assert!(one(&format!("{key}cookie = \"a b\"")).contains("is no cookie's name"));
    assert!(
        one(&format!("{key}cookie = \"session\"\n[http]\norigins = [\"*\"]"))
            .contains("list the origins that may")
    );
    assert!(one("leeway = \"1h\"").contains("out of range"));
    assert!(one("issuer = [\"a\", \"\"]").contains("auth.issuer[1]: empty"));
    assert!(
        one("issuer = 7").contains("auth.issuer: this is a number")
            || one("issuer = 7").contains("write a list")
    );
    let settings =
        parse("[auth]\nissuer = \"https://a.example\"\naudience = [\"a\", \"b\"]\nleeway = \"0s\"").unwrap();
    assert_eq!((settings.auth.issuer.len(), settings.auth.audience.len()), (1, 2));
    assert_eq!(shown(&parse(&show(&settings)).unwrap()), shown(&settings));
}

#[test]
fn a_variable_with_too_few_underscores_is_a_mistake_and_kubernetes_own_are_not() {
    let wrong = mistakes("", &[("CALLGATE_TURN_REALM", "x")]);
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].contains("write CALLGATE_TURN__REALM"), "{wrong:#?}");
    let kubernetes = [("CALLGATE_PORT", "tcp://10.0.0.1:80"), ("CALLGATE_SERVICE_HOST", "10.0.0.1")];
    read(None, "", &environment(&kubernetes)).unwrap();
}

#[test]
fn secrets_are_read_and_never_shown() {
    let text = "turn.secrets = [\"a-secret-of-the-operator\"]\nadmin.token = \"a-token-of-the-operator\"\n";
    let settings = parse(text).unwrap();
    assert_eq!(settings.turn.secrets[0].expose_secret(), "a-secret-of-the-operator");
    for text in [show(&settings), format!("{settings:?}")] {
        assert!(!text.contains("operator"), "{text}");
    }
}

#[test]
fn of_a_receiver_only_scheme_and_host_are_shown() {
    let text = "[webhooks]\nurls = [\"https://a.example:8443/hooks/T0?k=K1\", \"http://b.example/\"]\njoin_url = \"https://c.example?K2\"\n";
    let settings = parse(text).unwrap();
    let said = show(&settings);
    assert!(said.contains("[\"https://a.example:8443/********\", \"http://b.example/\"]"), "{said}");
    assert!(said.contains("join_url = \"https://c.example/********\""), "{said}");
    assert_eq!(shown(&parse(&said).unwrap()), shown(&settings));
    for (url, why) in [
        ("ftp://a.example/T0", "is not an address"),
        ("a.example/T0", "is not an address"),
        ("https://a b/T0", "is not an address"),
        ("https://a..example/T0", "is not an address"),
        ("https://-a.example/T0", "is not an address"),
        ("https://T0:x@a.example/", "no user name"),
        ("https://T0@a b/", "no user name"),
    ] {
        let wrong = mistakes(&format!("webhooks.urls = [{url:?}]"), &[]);
        assert!(wrong.len() == 1 && wrong[0].contains(why) && !wrong[0].contains("T0"), "{wrong:#?}");
    }
    for url in [
        "https://192.0.2.1/",
        "https://[2001:db8::1]:8443/",
        "http://hooks_of.compose:80",
        "https://a.example.",
    ] {
        parse(&format!("webhooks.urls = [{url:?}]")).unwrap();
    }
}

#[test]
fn durations_are_written_back_as_they_were_read() {
    for text in ["0s", "500ms", "30s", "90s", "5m", "1h", "2d", "1500ms"] {
        assert_eq!(show_duration(parse_duration(text).unwrap()), text);
    }
    for text in ["", "s", "5", "-5s", "1.5s", "5 s", "5w", "99999999999999999999s", "18446744073709551615d"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}", key in "[a-z.]{0,20}", value in ".{0,20}") {
        let _ = parse(&text);
        let _ = parse(&format!("{key} = {value}"));
        let _ = parse(&format!("{key} = {value:?}"));
    }
}

#[test]
fn a_store_is_a_file_or_memory() {
    let store = |url: &str| parse(&format!("store.url = \"{url}\"")).map(|settings| settings.store.url);
    assert_eq!(store("").unwrap(), StoreUrl::Default);
    assert_eq!(store("memory:").unwrap(), StoreUrl::Memory);
    for (url, path) in
        [("sqlite:/srv/x.db", "/srv/x.db"), ("sqlite:///srv/x.db", "/srv/x.db"), ("sqlite:x.db", "x.db")]
    {
        assert_eq!(store(url).unwrap(), StoreUrl::Sqlite(path.into()));
    }
    for (url, what) in [
        ("sqlite:", "names no file"),
        ("memory", "this is no store"),
        ("postgres://x", "this is no store"),
        ("redis://:s3cret@h/0", "redis is not there yet"),
    ] {
        let wrong = store(url).unwrap_err().0[0].to_string();
        assert!(
            wrong.contains(what) && wrong.contains("sqlite:PATH") && !wrong.contains("s3cret"),
            "{wrong}"
        );
    }
}
