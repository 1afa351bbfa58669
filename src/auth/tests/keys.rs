//! Keys: each algorithm by each form of its key, and what is no key.

use serde_json::Value;
use serde_json::json;

use super::signer::ALL;
use super::signer::Issuer;
use super::signer::NOW;
use super::signer::by_jwks;
use super::signer::by_pem;
use super::signer::by_secret;
use super::signer::good;
use super::signer::hs256;
use super::signer::vectors;
use super::signer::verify;
use crate::auth::Refused;
use crate::auth::Tokens;

#[test]
fn what_another_implementation_signed_is_verified_by_jwks_and_by_pem() {
    let vectors = vectors();
    let by_set = by_jwks(&vectors["jwks"]).unwrap();
    for (algorithm, key) in ALL {
        let token = vectors["tokens"][algorithm].as_str().unwrap();
        assert!(Tokens::looks_like_one(token));
        let tokens = match key {
            "" => by_secret(""),
            key => by_pem(vectors["pem"][key].as_str().unwrap()).unwrap(),
        };
        assert_eq!(verify(&tokens, token).unwrap().user.as_ref(), "ada", "{algorithm}");
        if !key.is_empty() {
            assert_eq!(verify(&by_set, token).unwrap().user.as_ref(), "ada", "{algorithm}");
        }
    }
    let pkcs1 = by_pem(vectors["rsaPkcs1"].as_str().unwrap()).unwrap();
    assert!(verify(&pkcs1, vectors["tokens"]["RS256"].as_str().unwrap()).is_ok());
    // Several in one file: an old one and a new one.
    let both =
        [&vectors["pem"]["P256"], &vectors["pem"]["Ed25519"]].map(|pem| pem.as_str().unwrap()).concat();
    let both = by_pem(&both).unwrap();
    for algorithm in ["ES256", "EdDSA"] {
        assert!(verify(&both, vectors["tokens"][algorithm].as_str().unwrap()).is_ok(), "{algorithm}");
    }
}

#[test]
fn the_key_fixes_the_algorithm_whatever_the_token_says() {
    let issuer = Issuer::new();
    let mut set = issuer.jwks();
    for (algorithm, kid) in ALL.iter().filter(|(_, kid)| !kid.is_empty()) {
        let token = issuer.token(&json!({"alg": algorithm, "kid": kid}), &good());
        assert!(verify(&by_jwks(&set).unwrap(), &token).is_ok(), "{algorithm}");
        // Called by the name of another kind of key.
        for other in ["RSA", "P256", "P384", "Ed25519"].iter().filter(|other| *other != kid) {
            let token = issuer.token(&json!({"alg": algorithm, "kid": other}), &good());
            assert_eq!(verify(&by_jwks(&set).unwrap(), &token), Err(Refused::NoKey), "{algorithm} {other}");
        }
        // Signed by one algorithm and labelled as another.
        for (label, of) in ALL.iter().filter(|(label, _)| label != algorithm) {
            let message = super::signer::message(&json!({"alg": label}), &good());
            let signature = issuer.sign(algorithm, message.as_bytes());
            let token = format!("{message}.{}", super::signer::b64(signature));
            let expected = if of.is_empty() { Refused::NoKey } else { Refused::Signature };
            assert_eq!(verify(&by_jwks(&set).unwrap(), &token), Err(expected), "{algorithm} as {label}");
        }
    }
    // A key for one algorithm alone.
    set["keys"][0]["alg"] = json!("RS256");
    let tokens = by_jwks(&set).unwrap();
    assert!(verify(&tokens, &issuer.token(&json!({"alg": "RS256"}), &good())).is_ok());
    for other in ["RS384", "PS256"] {
        assert_eq!(verify(&tokens, &issuer.token(&json!({"alg": other}), &good())), Err(Refused::NoKey));
    }
}

#[test]
fn a_name_chooses_the_key_and_without_one_all_of_the_kind_are_tried() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let key = |issuer: &Issuer, kid: Option<&str>| {
        let mut key = issuer.jwks()["keys"][1].clone();
        key["kid"] = json!(kid);
        key
    };
    let tokens = by_jwks(&json!({"keys": [key(&old, Some("old")), key(&new, Some("new"))]})).unwrap();
    let by = |issuer: &Issuer, kid: Value| issuer.token(&json!({"alg": "ES256", "kid": kid}), &good());
    assert!(verify(&tokens, &by(&old, json!("old"))).is_ok());
    assert!(verify(&tokens, &by(&new, json!("new"))).is_ok());
    assert_eq!(verify(&tokens, &by(&new, json!("old"))), Err(Refused::Signature));
    assert_eq!(verify(&tokens, &by(&new, json!("newer"))), Err(Refused::NoKey));
    assert!(verify(&tokens, &by(&old, Value::Null)).is_ok());
    assert!(verify(&tokens, &new.token(&json!({"alg": "ES256"}), &good())).is_ok());
    assert_eq!(verify(&tokens, &by(&Issuer::new(), Value::Null)), Err(Refused::Signature));
    // A key without a name answers to any, unless another one has it.
    let tokens = by_jwks(&json!({"keys": [key(&old, None), key(&new, Some("new"))]})).unwrap();
    assert!(verify(&tokens, &by(&old, json!("whatever"))).is_ok());
    assert_eq!(verify(&tokens, &by(&old, json!("new"))), Err(Refused::Signature));
}

#[test]
fn a_secret_serves_the_hashes_that_it_is_long_enough_for() {
    for (length, longest) in [(32, 1), (47, 1), (48, 2), (63, 2), (64, 3)] {
        let secret = "x".repeat(length);
        let tokens = crate::auth::Keyring::read(&super::signer::auth(&format!("key = \"{secret}\"")));
        let tokens = Tokens::new(tokens.unwrap());
        let hashes = [
            ("HS256", ring::hmac::HMAC_SHA256),
            ("HS384", ring::hmac::HMAC_SHA384),
            ("HS512", ring::hmac::HMAC_SHA512),
        ];
        for (n, (algorithm, hash)) in hashes.into_iter().enumerate() {
            let message = super::signer::message(&json!({"alg": algorithm}), &good());
            let tag = ring::hmac::sign(&ring::hmac::Key::new(hash, secret.as_bytes()), message.as_bytes());
            let token = format!("{message}.{}", super::signer::b64(tag));
            assert_eq!(verify(&tokens, &token).is_ok(), n < longest, "{length} {algorithm}");
        }
    }
}

#[test]
fn what_is_no_key_is_said_to_be_none() {
    let vectors = vectors();
    let pem = |name: &str| vectors["pem"][name].as_str().unwrap().to_owned();
    for (bad, why) in [
        (String::new(), "there is none"),
        ("-----BEGIN PUBLIC KEY-----".to_owned(), "breaks off"),
        (pem("P256").replace("-----END", "-----"), "breaks off"),
        (pem("P256").replace('M', "!"), "not base64"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_owned(), "not a public key"),
        (pem("RSA").replace("PUBLIC KEY", "RSA PUBLIC KEY"), "not an RSA key"),
        (pem("RSA").replace("PUBLIC KEY", "THING"), "something else"),
        // Another curve's object.
        (pem("P256").replace("DAQcD", "DAQYD"), "a kind that is not known"),
    ] {
        let error = by_pem(&bad).map(|_| ()).unwrap_err();
        assert!(error.starts_with("auth.key: ") && error.contains(why), "{why}: {error}");
    }
    // A point beside its curve.
    let mut jwks = vectors["jwks"].clone();
    jwks["keys"] = json!([jwks["keys"][1]]);
    jwks["keys"][0]["x"] = jwks["keys"][0]["y"].clone();
    assert!(by_jwks(&jwks).map(|_| ()).unwrap_err().contains("not a point"));
}

#[test]
fn of_a_set_what_can_be_used_is_used_and_nothing_at_all_is_an_error() {
    let issuer = Issuer::new();
    let set = issuer.jwks();
    let rsa = &set["keys"][0];
    let with = |name: &str, value: Value| {
        let mut key = rsa.clone();
        key[name] = value;
        key
    };
    let token = issuer.token(&json!({"alg": "RS256"}), &good());
    for other in [
        json!({}),
        json!(7),
        json!({"kty": "RSA"}),
        json!({"kty": "quantum", "q": [1]}),
        json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "oct", "k": "c2hvcnQ"}),
        with("use", json!("enc")),
        with("key_ops", json!(["encrypt"])),
        with("alg", json!("RSA-OAEP")),
        with("alg", json!("ES256")),
        with("alg", json!("none")),
        with("n", json!("AQAB")),
        with("n", json!("!")),
        with("e", json!("AQ")),
        with("e", json!("AAAAAAAAAAAAAAA")),
        with("kid", json!("x".repeat(129))),
        with("kty", json!("oct")),
    ] {
        let error = by_jwks(&json!({"keys": [other]})).map(|_| ()).unwrap_err();
        assert!(error.contains("jwks.json") && error.contains("keys[0]"), "{other}: {error}");
        // Beside a good one it is no harm.
        let tokens = by_jwks(&json!({"keys": [other, rsa], "issued": 7})).unwrap();
        assert!(verify(&tokens, &token).is_ok(), "{other}");
    }
    for set in
        [json!({}), json!([]), json!({"keys": []}), json!({"keys": "x"}), json!({"keys": vec![rsa; 33]})]
    {
        assert!(by_jwks(&set).is_err());
    }
    // A secret in the set is as good as `auth.key`, and its use may be said.
    let secret = json!({"kty": "oct", "k": super::signer::b64(super::signer::SECRET), "use": "sig", "key_ops": ["sign", "verify"], "x5c": ["x"]});
    let tokens = by_jwks(&json!({"keys": [secret]})).unwrap();
    assert!(
        verify(&tokens, &hs256(&json!({"alg": "HS256"}), &json!({"sub": "ada", "exp": NOW + 1}))).is_ok()
    );
}
