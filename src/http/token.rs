//! User tokens: JWT (RFC 7519) signed by HS256 with the operator's key. ring computes the signatures, which is in the tree anyway.

use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::crypto::CryptoProvider;
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::crypto::KeyUtils;
use jsonwebtoken::decode;
use jsonwebtoken::errors::Error;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature;
use jsonwebtoken::signature::Verifier;
use ring::hmac;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Deserialize;

/// The longest token that is looked at, in bytes.
const LONGEST: usize = 4096;

/// How far the issuer's clock may be off, in seconds.
const LEEWAY: u64 = 30;

/// The longest subject, in bytes.
const SUBJECT: usize = 128;

/// Verifies tokens.
pub(super) struct Tokens {
    key: DecodingKey,
    rules: Validation,
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Tokens {
    pub(super) fn new(key: &SecretString) -> Tokens {
        // Another one may be there already, in tests: it does as well.
        let _ = RING.install_default();
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_required_spec_claims(&["exp", "sub"]);
        rules.validate_nbf = true;
        rules.leeway = LEEWAY;
        // Nobody here is an audience yet.
        rules.validate_aud = false;
        Tokens { key: DecodingKey::from_secret(key.expose_secret().as_bytes()), rules }
    }

    /// Whether it looks like a token at all, which no API key does by chance.
    pub(super) fn looks_like_one(text: &str) -> bool {
        text.bytes().filter(|byte| *byte == b'.').count() == 2 && text.starts_with("ey")
    }

    /// Whose token it is; `None`: it opens nothing.
    pub(super) fn subject(&self, token: &str) -> Option<String> {
        if token.len() > LONGEST {
            return None;
        }
        let read = decode::<Claims>(token, &self.key, &self.rules).ok()?;
        // RFC 7515, section 4.1.11: who does not understand what is critical refuses, and we understand none of it.
        if read.header.crit.is_some() {
            return None;
        }
        let subject = read.claims.sub;
        let plain = subject.bytes().all(|byte| byte.is_ascii_graphic());
        (plain && (1..=SUBJECT).contains(&subject.len())).then_some(subject)
    }
}

static RING: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// This daemon reads tokens and makes none.
fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    match algorithm {
        Algorithm::HS256 => Ok(Box::new(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key.try_get_as_bytes()?)))),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct Hs256(hmac::Key);

impl Verifier<Vec<u8>> for Hs256 {
    /// In constant time.
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;
    use std::time::UNIX_EPOCH;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::json;

    use super::*;

    const KEY: &str = "a key of thirty-two characters..";

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn signed(header: &Value, claims: &Value, key: &str, algorithm: hmac::Algorithm) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let tag = hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    fn token(claims: &Value) -> String {
        signed(&json!({"alg": "HS256", "typ": "JWT"}), claims, KEY, hmac::HMAC_SHA256)
    }

    fn subject(token: &str) -> Option<String> {
        Tokens::new(&KEY.into()).subject(token)
    }

    #[test]
    fn a_token_of_the_key_is_its_subjects() {
        let good = token(&json!({"sub": "auth0|ada", "exp": now() + 60, "aud": "another", "iat": now()}));
        assert_eq!(subject(&good).as_deref(), Some("auth0|ada"));
        assert!(Tokens::looks_like_one(&good));
        // Made by a few lines of Python: {"sub":"ada","exp":4102444800}.
        let other = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJleHAiOjQxMDI0NDQ4MDB9.\
                     OXE_IpZ7iRV50wHopVUQtnFvxOtEZ1ctpyBgmd0QM1o";
        assert_eq!(subject(other).as_deref(), Some("ada"));
    }

    #[test]
    fn clocks_may_be_half_a_minute_apart() {
        for (claims, opens) in [
            (json!({"sub": "a", "exp": now() - 20}), true),
            (json!({"sub": "a", "exp": now() - 60}), false),
            (json!({"sub": "a", "exp": now() + 60, "nbf": now() + 20}), true),
            (json!({"sub": "a", "exp": now() + 60, "nbf": now() + 60}), false),
        ] {
            assert_eq!(subject(&token(&claims)).is_some(), opens, "{claims}");
        }
    }

    #[test]
    fn what_is_not_quite_right_opens_nothing() {
        let exp = now() + 60;
        for claims in [
            json!({"sub": "a"}),
            json!({"exp": exp}),
            json!({"sub": "", "exp": exp}),
            json!({"sub": 7, "exp": exp}),
            json!({"sub": "a b", "exp": exp}),
            json!({"sub": "ä", "exp": exp}),
            json!({"sub": "a\n", "exp": exp}),
            json!({"sub": "a".repeat(SUBJECT + 1), "exp": exp}),
            json!({"sub": "a", "exp": "never"}),
            json!({"sub": "a", "exp": exp.to_string()}),
            json!({"sub": "a", "exp": -1}),
            json!({"sub": "a", "exp": null}),
            json!({"sub": "a", "exp": [exp]}),
            json!({"sub": "a", "exp": exp, "nbf": "soon"}),
            json!({"sub": "a", "exp": exp, "nbf": {}}),
            json!([]),
            json!("a"),
            json!({"sub": "a", "exp": exp, "x": "x".repeat(LONGEST)}),
        ] {
            assert_eq!(subject(&token(&claims)), None, "{claims}");
        }
    }

    #[test]
    fn only_hs256_with_our_key_signs() {
        let claims = json!({"sub": "a", "exp": now() + 60});
        let sha256 = hmac::HMAC_SHA256;
        for (header, key, algorithm) in [
            (json!({"alg": "HS256"}), "another key of 32 characters....", sha256),
            (json!({"alg": "HS256"}), "", sha256),
            (json!({"alg": "HS384"}), KEY, hmac::HMAC_SHA384),
            (json!({"alg": "HS512"}), KEY, hmac::HMAC_SHA512),
            (json!({"alg": "HS384"}), KEY, sha256),
            (json!({"alg": "RS256"}), KEY, sha256),
            (json!({"alg": "ES256"}), KEY, sha256),
            (json!({"alg": "none"}), KEY, sha256),
            (json!({"alg": "None"}), KEY, sha256),
            (json!({"alg": "hs256"}), KEY, sha256),
            (json!({"alg": ""}), KEY, sha256),
            (json!({"typ": "JWT"}), KEY, sha256),
            (json!({"alg": ["HS256"]}), KEY, sha256),
            (json!({"alg": "HS256", "crit": ["exp"]}), KEY, sha256),
            (json!({"alg": "HS256", "crit": []}), KEY, sha256),
        ] {
            assert_eq!(subject(&signed(&header, &claims, key, algorithm)), None, "{header} {key}");
        }
        // A key that comes with the token is nobody's.
        let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("theirs"), "alg": "HS256"});
        let header = json!({"alg": "HS256", "jwk": jwk, "kid": "../../dev/null", "jku": "http://127.0.0.1/"});
        assert_eq!(subject(&signed(&header, &claims, "theirs", sha256)), None);
        // Unsigned, in every spelling.
        let good = token(&claims);
        let (message, _) = good.rsplit_once('.').unwrap();
        let (header, payload) = message.split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(json!({"alg": "none"}).to_string());
        for bad in [
            message.to_owned(),
            format!("{message}."),
            format!("{none}.{payload}."),
            format!("{none}.{payload}"),
            format!("{good}."),
            format!("{good}A"),
            format!(".{good}"),
            format!("{header}..{payload}"),
            "..".to_owned(),
            String::new(),
        ] {
            assert_eq!(subject(&bad), None, "{bad}");
        }
    }

    #[test]
    fn one_changed_character_anywhere_is_one_too_many() {
        let good = token(&json!({"sub": "a", "exp": now() + 60}));
        for at in 0..good.len() {
            let mut bad = good.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).unwrap();
            // The last character of the signature has two bits that mean nothing; strict decoders refuse them, too.
            assert_eq!(subject(&bad), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn garbage_opens_nothing(text in "\\PC{0,200}", dotted in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,43}") {
            prop_assert_eq!(subject(&text), None);
            prop_assert_eq!(subject(&dotted), None);
        }
    }
}
