//! The abuse table: what people have got in with elsewhere, and what they may try.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use proptest::prelude::*;
use serde_json::json;

use super::signer::ALL;
use super::signer::Issuer;
use super::signer::NOW;
use super::signer::SECRET;
use super::signer::b64;
use super::signer::by_jwks;
use super::signer::by_pem;
use super::signer::by_secret;
use super::signer::good;
use super::signer::hs256;
use super::signer::message;
use super::signer::signed;
use super::signer::vectors;
use super::signer::verify;
use crate::auth::Keyring;
use crate::auth::Refused;
use crate::auth::Tokens;
use crate::config::Auth;

#[test]
fn unsigned_is_refused_in_every_spelling() {
    let issuer = Issuer::new();
    for tokens in [by_secret(""), by_jwks(&issuer.jwks()).unwrap()] {
        for name in
            ["none", "None", "NONE", "nOnE", "", " none", "null", "HS256 ", "hs256", "ES256K", "ES512", "HS1"]
        {
            let message = message(&json!({"alg": name}), &good());
            for token in [format!("{message}."), signed(&message, SECRET), signed(&message, "")] {
                assert_eq!(verify(&tokens, &token), Err(Refused::NoKey), "{name}");
            }
            assert_eq!(verify(&tokens, &message), Err(Refused::Malformed), "two parts");
        }
        for header in [
            json!({"typ": "JWT"}),
            json!({"alg": null}),
            json!({"alg": ["HS256"]}),
            json!({"alg": 0}),
            json!(["HS256"]),
        ] {
            assert_eq!(verify(&tokens, &hs256(&header, &good())), Err(Refused::Malformed), "{header}");
        }
    }
}

#[test]
fn a_public_key_is_nobodys_secret() {
    let vectors = vectors();
    for name in ["RSA", "P256", "P384", "Ed25519"] {
        let pem = vectors["pem"][name].as_str().unwrap();
        let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let jwk = vectors["jwks"]["keys"].as_array().unwrap().iter().find(|key| key["kid"] == name).unwrap();
        let [by_pem, by_jwks] = [by_pem(pem).unwrap(), by_jwks(&json!({"keys": [jwk]})).unwrap()];
        for secret in [
            pem,
            pem.trim(),
            &der,
            &jwk.to_string(),
            jwk["n"].as_str().unwrap_or_default(),
            jwk["x"].as_str().unwrap_or_default(),
        ] {
            for algorithm in ["HS256", "HS384", "HS512"] {
                let token = signed(&message(&json!({"alg": algorithm, "kid": name}), &good()), secret);
                assert_eq!(verify(&by_pem, &token), Err(Refused::NoKey), "{name} {algorithm}");
                assert_eq!(verify(&by_jwks, &token), Err(Refused::NoKey), "{name} {algorithm}");
            }
        }
    }
    // Nor is a secret a public key.
    let issuer = Issuer::new();
    for (algorithm, _) in ALL.iter().filter(|(_, key)| !key.is_empty()) {
        let token = issuer.token(&json!({"alg": algorithm}), &good());
        assert_eq!(verify(&by_secret(""), &token), Err(Refused::NoKey), "{algorithm}");
    }
}

#[test]
fn a_key_that_comes_with_the_token_is_nobodys() {
    let (ours, theirs) = (Issuer::new(), Issuer::new());
    let tokens = by_jwks(&ours.jwks()).unwrap();
    for (n, (algorithm, kid)) in
        [("RS256", "RSA"), ("ES256", "P256"), ("ES384", "P384"), ("EdDSA", "Ed25519")].into_iter().enumerate()
    {
        let jwk = theirs.jwks()["keys"][n].clone();
        let with = |issuer: &Issuer| {
            let header = json!({
                "alg": algorithm, "kid": kid, "jwk": jwk, "jku": "http://127.0.0.1/jwks.json", "x5u": "file:///etc/passwd",
                "x5c": ["AAAA"], "x5t": "AAAA", "typ": "at+jwt", "cty": "JWT", "zip": "DEF", "b64": false,
            });
            issuer.token(&header, &good())
        };
        // RSA is one fixed key here: the others are made anew.
        if algorithm != "RS256" {
            assert_eq!(verify(&tokens, &with(&theirs)), Err(Refused::Signature), "{algorithm}");
        }
        assert!(verify(&tokens, &with(&ours)).is_ok(), "what is not read is no harm");
    }
    let jwk = json!({"kty": "oct", "k": b64("theirs"), "alg": "HS256"});
    let token = signed(&message(&json!({"alg": "HS256", "jwk": jwk}), &good()), "theirs");
    assert_eq!(verify(&by_secret(""), &token), Err(Refused::Signature));
}

#[test]
fn a_kid_is_a_name_and_never_a_path_or_a_query() {
    let issuer = Issuer::new();
    let tokens = by_jwks(&issuer.jwks()).unwrap();
    let longest = "k".repeat(128);
    for kid in [
        "../../etc/passwd",
        "/dev/null",
        "../../../../dev/null",
        "' OR 1=1 --",
        "|id",
        "RSA\0",
        "rsa",
        "",
        &longest,
        "http://127.0.0.1/",
    ] {
        // An empty file would be an empty secret.
        for token in [
            signed(&message(&json!({"alg": "HS256", "kid": kid}), &good()), ""),
            issuer.token(&json!({"alg": "RS256", "kid": kid}), &good()),
        ] {
            assert_eq!(verify(&tokens, &token), Err(Refused::NoKey), "{kid}");
        }
        let refused =
            verify(&by_secret(""), &signed(&message(&json!({"alg": "HS256", "kid": kid}), &good()), ""));
        assert_eq!(refused, Err(Refused::Signature), "{kid}");
    }
    for kid in
        [json!("k".repeat(129)), json!("k".repeat(4000)), json!(7), json!(["RSA"]), json!({"kid": "RSA"})]
    {
        let token = issuer.token(&json!({"alg": "RS256", "kid": kid}), &good());
        assert_eq!(verify(&tokens, &token), Err(Refused::Malformed), "{kid}");
    }
}

#[test]
fn what_is_critical_is_refused_and_what_is_there_twice_too() {
    let tokens = by_secret("");
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("x"), json!(false)] {
        let token = hs256(&json!({"alg": "HS256", "crit": crit, "b64": false}), &good());
        assert_eq!(verify(&tokens, &token), Err(Refused::Critical), "{crit}");
    }
    let raw = |header: &str, claims: &str| signed(&format!("{}.{}", b64(header), b64(claims)), SECRET);
    let exp = NOW + 60;
    let (header, claims) = (r#"{"alg":"HS256"}"#, format!(r#"{{"sub":"ada","exp":{exp}}}"#));
    assert!(verify(&tokens, &raw(header, &claims)).is_ok());
    for twice in [
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","kid":"a","kid":"b"}"#,
        r#"{"alg":"HS256","crit":[],"crit":[]}"#,
        r#"{"alg":"HS256"}{"alg":"none"}"#,
        r#"{"alg":"HS256",}"#,
        "\u{feff}{\"alg\":\"HS256\"}",
        "",
        "null",
    ] {
        assert_eq!(verify(&tokens, &raw(twice, &claims)), Err(Refused::Malformed), "{twice}");
    }
    for twice in [
        format!(r#"{{"sub":"ada","sub":"eve","exp":{exp}}}"#),
        format!(r#"{{"sub":"ada","exp":1,"exp":{exp}}}"#),
        format!(r#"{{"sub":"ada","exp":{exp},"role":"user","role":"admin"}}"#),
        format!(r#"{{"sub":"ada","exp":{exp},"rooms":["a"],"rooms":["b"]}}"#),
        format!(r#"{{"sub":"ada","exp":{exp},"rooms":["a"],"r\u006foms":["b"]}}"#),
        format!(r#"{{"sub":"ada","exp":{exp}}} x"#),
        String::new(),
    ] {
        assert!(matches!(verify(&tokens, &raw(header, &twice)), Err(Refused::Claims(_))), "{twice}");
    }
}

#[test]
fn huge_and_deep_tokens_cost_nothing() {
    let tokens = by_secret("");
    let with = |length: usize| {
        hs256(&json!({"alg": "HS256"}), &json!({"sub": "ada", "exp": NOW + 60, "x": "x".repeat(length)}))
    };
    assert!(verify(&tokens, &with(5_900)).is_ok(), "{}", with(5_900).len());
    assert_eq!(verify(&tokens, &with(6_200)), Err(Refused::TooLong));
    assert_eq!(verify(&tokens, &"a".repeat(100 << 20)), Err(Refused::TooLong));
    assert_eq!(verify(&tokens, &".".repeat(8192)), Err(Refused::Malformed));
    // Passed over where nobody reads it, refused where somebody does.
    let deep = format!("{}{}", "[".repeat(1400), "]".repeat(1400));
    let exp = NOW + 60;
    for (header, claims, expected) in [
        (format!(r#"{{"alg":"HS256","x":{deep}}}"#), String::new(), None),
        (format!(r#"{{"alg":"HS256","kid":{deep}}}"#), String::new(), Some(Refused::Malformed)),
        (format!(r#"{{"alg":"HS256","crit":{deep}}}"#), String::new(), Some(Refused::Critical)),
        (r#"{"alg":"HS256"}"#.to_owned(), format!(r#","x":{deep}"#), None),
    ] {
        let claims = format!(r#"{{"sub":"ada","exp":{exp}{claims}}}"#);
        let token = signed(&format!("{}.{}", b64(header), b64(claims)), SECRET);
        assert_eq!(verify(&tokens, &token).err(), expected);
    }
    for claim in ["rooms", "aud", "role", "exp", "name"] {
        let claims = format!(r#"{{"sub":"ada","{claim}":{deep}}}"#);
        let token = signed(&format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(claims)), SECRET);
        assert!(matches!(verify(&tokens, &token), Err(Refused::Claims(_))), "{claim}");
    }
}

#[test]
fn a_signature_in_der_or_of_another_length_is_refused() {
    let issuer = Issuer::new();
    let tokens = by_jwks(&issuer.jwks()).unwrap();
    for (algorithm, half) in [("ES256", 32), ("ES384", 48)] {
        let message = message(&json!({"alg": algorithm}), &good());
        let signature = issuer.sign(algorithm, message.as_bytes());
        assert_eq!(signature.len(), 2 * half);
        let (r, s) = signature.split_at(half);
        let integer = |number: &[u8]| {
            let start = number.iter().take_while(|byte| **byte == 0).count();
            let sign = if number[start] >= 0x80 { &[0][..] } else { &[] };
            let number = [sign, &number[start..]].concat();
            [&[2, u8::try_from(number.len()).unwrap()][..], &number].concat()
        };
        let inside = [integer(r), integer(s)].concat();
        let der = [&[0x30, u8::try_from(inside.len()).unwrap()][..], &inside].concat();
        let zeros = vec![0; 2 * half];
        let padded = [&[0][..], r, &[0], s].concat();
        for (what, bad) in [
            ("DER", &der[..]),
            // CVE-2022-21449: r = s = 0.
            ("zeros", &zeros),
            ("nothing", &[]),
            ("half", r),
            ("padded", &padded),
            ("twice", &signature.repeat(2)),
        ] {
            let token = format!("{message}.{}", b64(bad));
            assert_eq!(verify(&tokens, &token), Err(Refused::Signature), "{algorithm} {what}");
        }
    }
    for (algorithm, _) in ALL.iter().filter(|(_, key)| !key.is_empty()) {
        let message = message(&json!({"alg": algorithm}), &good());
        for bad in [vec![], vec![0; 32], vec![0; 64], vec![0; 256], vec![0xff; 256]] {
            assert_eq!(
                verify(&tokens, &format!("{message}.{}", b64(bad))),
                Err(Refused::Signature),
                "{algorithm}"
            );
        }
    }
}

#[test]
fn one_changed_character_anywhere_is_one_too_many() {
    let vectors = vectors();
    let by_set = by_jwks(&vectors["jwks"]).unwrap();
    for (algorithm, key) in ALL {
        let token = vectors["tokens"][algorithm].as_str().unwrap();
        let tokens = if key.is_empty() { &by_secret("") } else { &by_set };
        assert!(verify(tokens, token).is_ok());
        // RSA is slow in a debug build: every seventh.
        let step = if key == "RSA" { 7 } else { 1 };
        for at in (0..token.len()).step_by(step).chain([token.len() - 1]) {
            let mut bad = token.to_owned().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).unwrap();
            // The last character of a part may have bits that mean nothing: those are refused as well.
            assert!(verify(tokens, &bad).is_err(), "{algorithm} at {at}");
        }
        for bad in [
            format!("{token}."),
            format!("{token}A"),
            format!(".{token}"),
            format!("{token}="),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token}.{token}"),
        ] {
            assert!(verify(tokens, &bad).is_err(), "{algorithm} {bad}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn cut_or_altered_signatures_of_every_algorithm_are_refused(which in 0..ALL.len(), cut in 0usize..600, flip in 0usize..4096, bit in 0u8..8) {
        let (algorithm, key) = ALL[which];
        let vectors = vectors();
        let tokens = if key.is_empty() { by_secret("") } else { by_jwks(&vectors["jwks"]).unwrap() };
        let token = vectors["tokens"][algorithm].as_str().unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let cut = cut.min(signature.len() - 1);
        let short = format!("{message}.{}", &signature[..cut]);
        prop_assert!(verify(&tokens, &short).is_err());
        use base64::Engine;
        let mut bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
        let at = flip % bytes.len();
        bytes[at] ^= 1 << bit;
        let altered = format!("{message}.{}", b64(bytes));
        prop_assert_eq!(verify(&tokens, &altered), Err(Refused::Signature));
    }

    #[test]
    fn garbage_opens_nothing(text in "\\PC{0,200}", dotted in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,43}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let tokens = by_secret("");
        prop_assert!(verify(&tokens, &text).is_err());
        prop_assert!(verify(&tokens, &dotted).is_err());
        // Signed garbage is garbage.
        let signed = signed(&format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(&bytes)), SECRET);
        prop_assert!(verify(&tokens, &signed).is_err());
        let _ = super::super::pem::keys(&text);
        let pem = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----");
        prop_assert!(super::super::pem::keys(&pem).is_err());
        prop_assert!(super::super::jwks::keys(&text).is_err());
    }
}

#[test]
fn keys_that_change_under_use_are_the_old_or_the_new_and_never_neither() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let keyring = |issuer: &Issuer, name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, issuer.jwks().to_string()).unwrap();
        Keyring::read(&Auth { jwks: Some(path), ..super::signer::auth("") }).unwrap()
    };
    let tokens = Arc::new(Tokens::new(keyring(&old, "old")));
    let [by_old, by_new] =
        [&old, &new].map(|issuer| issuer.token(&json!({"alg": "EdDSA", "kid": "Ed25519"}), &good()));
    let done = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..2)
        .map(|_| {
            let (tokens, done, by_old, by_new) =
                (tokens.clone(), done.clone(), by_old.clone(), by_new.clone());
            thread::spawn(move || {
                let mut seen = (0, 0);
                while !done.load(Relaxed) || seen.0 == 0 {
                    seen.0 += usize::from(verify(&tokens, &by_old).is_ok());
                    seen.1 += usize::from(verify(&tokens, &by_new).is_ok());
                    assert!(verify(&tokens, "a.b.c").is_err());
                }
                seen
            })
        })
        .collect();
    for _ in 0..50 {
        tokens.change(keyring(&new, "new"));
        tokens.change(keyring(&old, "old"));
    }
    done.store(true, Relaxed);
    for user in users {
        assert!(user.join().unwrap().0 > 0);
    }
    tokens.change(keyring(&new, "new"));
    assert_eq!(verify(&tokens, &by_old), Err(Refused::Signature));
    assert!(verify(&tokens, &by_new).is_ok());
}
