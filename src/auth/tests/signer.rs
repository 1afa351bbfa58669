//! An issuer: keys of every kind, tokens signed with them, and the configuration that trusts it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature;
use ring::signature::EcdsaKeyPair;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair;
use serde_json::Value;
use serde_json::json;

use crate::auth::Identity;
use crate::auth::Keyring;
use crate::auth::Refused;
use crate::auth::Tokens;
use crate::config;
use crate::config::Auth;
use crate::config::AuthKey;

/// Long enough for HS512.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) const NOW: u64 = 1_800_000_000;

/// Keys and tokens that Node's crypto made, and the RSA key that signs here too: ring makes none.
pub(super) fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

/// All algorithms, with the names of the keys in the vectors.
pub(super) const ALL: [(&str, &str); 12] = [
    ("HS256", ""),
    ("HS384", ""),
    ("HS512", ""),
    ("RS256", "RSA"),
    ("RS384", "RSA"),
    ("RS512", "RSA"),
    ("PS256", "RSA"),
    ("PS384", "RSA"),
    ("PS512", "RSA"),
    ("ES256", "P256"),
    ("ES384", "P384"),
    ("EdDSA", "Ed25519"),
];

pub(super) struct Issuer {
    rsa: rsa::KeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Issuer {
    pub(super) fn new() -> Issuer {
        let random = SystemRandom::new();
        let ecdsa = |by: &'static signature::EcdsaSigningAlgorithm| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(by, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(by, pkcs8.as_ref(), &random).unwrap()
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let rsa = STANDARD.decode(vectors()["rsaPrivate"].as_str().unwrap()).unwrap();
        Issuer {
            rsa: rsa::KeyPair::from_pkcs8(&rsa).unwrap(),
            p256: ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap(),
        }
    }

    /// The public keys as a JWKS, each with a `kid`.
    pub(super) fn jwks(&self) -> Value {
        let rsa: rsa::PublicKeyComponents<Vec<u8>> = self.rsa.public().into();
        let (n, e) = (rsa.n, rsa.e);
        let (p256, p384) = (self.p256.public_key().as_ref(), self.p384.public_key().as_ref());
        json!({"keys": [
            {"kty": "RSA", "kid": "RSA", "n": b64(n), "e": b64(e)},
            {"kty": "EC", "crv": "P-256", "kid": "P256", "x": b64(&p256[1..33]), "y": b64(&p256[33..])},
            {"kty": "EC", "crv": "P-384", "kid": "P384", "x": b64(&p384[1..49]), "y": b64(&p384[49..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "Ed25519", "x": b64(self.ed25519.public_key().as_ref())},
        ]})
    }

    pub(super) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let hmac = |by| hmac::sign(&hmac::Key::new(by, SECRET.as_bytes()), message).as_ref().to_vec();
        let rsa = |by: &'static dyn signature::RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(by, &random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            "HS256" => hmac(hmac::HMAC_SHA256),
            "HS384" => hmac(hmac::HMAC_SHA384),
            "HS512" => hmac(hmac::HMAC_SHA512),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            other => panic!("{other}"),
        }
    }

    /// A token with this header, whose `alg` signs it.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.sign(header["alg"].as_str().unwrap(), message.as_bytes());
        format!("{message}.{}", b64(signature))
    }
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed of a token.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", b64(header.to_string()), b64(claims.to_string()))
}

/// A token by HS256 with the secret.
pub(super) fn hs256(header: &Value, claims: &Value) -> String {
    signed(&message(header, claims), SECRET)
}

pub(super) fn signed(message: &str, secret: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
    format!("{message}.{}", b64(tag))
}

pub(super) fn good() -> Value {
    json!({"sub": "ada", "exp": NOW + 60})
}

/// `[auth]` of a configuration.
pub(super) fn auth(keys: &str) -> Auth {
    config::read(None, &format!("[auth]\n{keys}"), &config::Environment::new()).unwrap().auth
}

/// By the secret, with more keys of `[auth]`.
pub(super) fn by_secret(more: &str) -> Tokens {
    Tokens::new(Keyring::read(&auth(&format!("key = \"{SECRET}\"\n{more}"))).unwrap())
}

/// By public keys.
pub(super) fn by_pem(pem: &str) -> Result<Tokens, String> {
    let key = Some(AuthKey::Public { pem: pem.to_owned(), file: None });
    Keyring::read(&Auth { key, ..auth("") }).map(Tokens::new).map_err(|error| error.to_string())
}

/// By a set of keys.
pub(super) fn by_jwks(jwks: &Value) -> Result<Tokens, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    std::fs::write(&path, jwks.to_string()).unwrap();
    let auth = Auth { jwks: Some(path), ..auth("") };
    Keyring::read(&auth).map(Tokens::new).map_err(|error| error.to_string())
}

pub(super) fn verify(tokens: &Tokens, token: &str) -> Result<Identity, Refused> {
    tokens.verify_at(token, NOW)
}
