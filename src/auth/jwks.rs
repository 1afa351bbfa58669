//! A set of keys as JSON (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::key::Key;
use super::key::LONGEST_KID;

/// The most keys: a token without `kid` may be tried on all of them.
pub(super) const MOST: usize = 32;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// What is read of a key; the private parts are not, should somebody have left them in.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The keys that verify tokens, and for each of the others (from 0) why it does not: they may be for something else.
///
/// # Errors
/// It is no set, or nothing in it can be used.
pub(super) fn keys(text: &str) -> Result<(Vec<Key>, Vec<String>), String> {
    let set: Set = serde_json::from_str(text).map_err(|error| {
        format!("not a JWKS: {error}; it looks like {{\"keys\": [{{\"kty\": \"RSA\", …}}]}}")
    })?;
    if set.keys.len() > MOST {
        return Err(format!("{} keys; at most {MOST} are looked at", set.keys.len()));
    }
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for (n, value) in set.keys.into_iter().enumerate() {
        let key = serde_json::from_value(value).map_err(|_| "not a JWK").and_then(key);
        match key {
            Ok(key) => keys.push(key),
            Err(why) => others.push(format!("keys[{n}]: {why}")),
        }
    }
    if keys.is_empty() {
        let why = others.first().map_or("it is empty", String::as_str);
        return Err(format!("no key in it can verify tokens ({why})"));
    }
    Ok((keys, others))
}

fn key(jwk: Jwk) -> Result<Key, &'static str> {
    if jwk.r#use.is_some_and(|r#use| r#use != "sig")
        || jwk.key_ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify"))
    {
        return Err("it is not for signatures");
    }
    let point = || -> Result<Vec<u8>, &'static str> {
        Ok([&[4][..], &bytes(jwk.x.as_ref())?, &bytes(jwk.y.as_ref())?].concat())
    };
    let mut key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("oct", _) => Key::hmac(&bytes(jwk.k.as_ref())?)?,
        ("RSA", _) => Key::rsa(&bytes(jwk.n.as_ref())?, &bytes(jwk.e.as_ref())?)?,
        ("EC", Some("P-256")) => Key::p256(&point()?)?,
        ("EC", Some("P-384")) => Key::p384(&point()?)?,
        ("OKP", Some("Ed25519")) => Key::ed25519(&bytes(jwk.x.as_ref())?)?,
        _ => return Err("its kind is not known here"),
    };
    if let Some(name) = jwk.alg {
        let only = Algorithm::named(&name).filter(|only| key.accepts(*only));
        key.only = Some(only.ok_or("its alg is not known here, or not of its kind")?);
    }
    if let Some(kid) = jwk.kid {
        if kid.len() > LONGEST_KID {
            return Err("its kid is too long");
        }
        key.kid = Some(kid.into());
    }
    Ok(key)
}

fn bytes(text: Option<&String>) -> Result<Vec<u8>, &'static str> {
    let text = text.ok_or("a part of it is missing")?;
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| "a part of it is not base64url")
}
