//! A key, and what it verifies. Its kind says by which algorithms; a token has no say in it.

use ring::agreement;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature;
use ring::signature::RsaPublicKeyComponents;
use ring::signature::UnparsedPublicKey;

use super::algorithm::Algorithm;

/// The longest `kid`, in bytes.
pub(super) const LONGEST_KID: usize = 128;

/// What one key of the operator's accepts.
pub(super) struct Key {
    /// The name that tokens call it by. A key without one is any token's.
    pub(super) kid: Option<Box<str>>,
    /// The one algorithm it is for, if its owner says so.
    pub(super) only: Option<Algorithm>,
    material: Material,
}

enum Material {
    Hmac(Box<Hmac>),
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa(RsaPublicKeyComponents<Vec<u8>>),
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// By SHA-256, and by the longer hashes if the secret is long enough (RFC 7518, section 3.2).
struct Hmac {
    sha256: hmac::Key,
    sha384: Option<hmac::Key>,
    sha512: Option<hmac::Key>,
}

impl Hmac {
    fn by(&self, algorithm: Algorithm) -> Option<&hmac::Key> {
        match algorithm {
            Algorithm::Hs256 => Some(&self.sha256),
            Algorithm::Hs384 => self.sha384.as_ref(),
            Algorithm::Hs512 => self.sha512.as_ref(),
            _ => None,
        }
    }
}

impl Key {
    fn new(material: Material) -> Key {
        Key { kid: None, only: None, material }
    }

    /// A secret of at least 32 bytes.
    pub(super) fn hmac(secret: &[u8]) -> Result<Key, &'static str> {
        let of = |length: usize, hash| (secret.len() >= length).then(|| hmac::Key::new(hash, secret));
        let Some(sha256) = of(32, hmac::HMAC_SHA256) else { return Err("a secret of under 32 bytes") };
        let (sha384, sha512) = (of(48, hmac::HMAC_SHA384), of(64, hmac::HMAC_SHA512));
        Ok(Key::new(Material::Hmac(Box::new(Hmac { sha256, sha384, sha512 }))))
    }

    /// RSA, of 2048 to 8192 bits.
    pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<Key, &'static str> {
        let stripped = |number: &[u8]| {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            number.get(zeros..).unwrap_or_default().to_vec()
        };
        let (n, e) = (stripped(n), stripped(e));
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err("RSA of under 2048 or over 8192 bits");
        }
        // What ring takes: an odd modulus, and an odd exponent from 3 to 33 bits.
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
        if !odd(&n) || !odd(&e) || e.len() > 4 || e == [1] {
            return Err("not an RSA key");
        }
        Ok(Key::new(Material::Rsa(RsaPublicKeyComponents { n, e })))
    }

    /// A point of P-256: 4, x, y.
    pub(super) fn p256(point: &[u8]) -> Result<Key, &'static str> {
        on_curve(&agreement::ECDH_P256, point, 65)?;
        Ok(Key::new(Material::P256(point.to_vec())))
    }

    /// A point of P-384: 4, x, y.
    pub(super) fn p384(point: &[u8]) -> Result<Key, &'static str> {
        on_curve(&agreement::ECDH_P384, point, 97)?;
        Ok(Key::new(Material::P384(point.to_vec())))
    }

    /// Ed25519.
    pub(super) fn ed25519(public: &[u8]) -> Result<Key, &'static str> {
        if public.len() != 32 {
            return Err("not an Ed25519 key");
        }
        Ok(Key::new(Material::Ed25519(public.to_vec())))
    }

    /// Whether it verifies by this algorithm at all.
    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        if self.only.is_some_and(|only| only != algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::P256(_), Algorithm::Es256)
            | (Material::P384(_), Algorithm::Es384)
            | (Material::Ed25519(_), Algorithm::EdDsa) => true,
            (Material::Hmac(keys), algorithm) => keys.by(algorithm).is_some(),
            (Material::Rsa(_), algorithm) => rsa(algorithm).is_some(),
            _ => false,
        }
    }

    /// Whether the signature is this key's, by this algorithm.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.accepts(algorithm) {
            return false;
        }
        match (&self.material, algorithm) {
            // In constant time.
            (Material::Hmac(keys), algorithm) => {
                keys.by(algorithm).is_some_and(|key| hmac::verify(key, message, signature).is_ok())
            }
            (Material::Rsa(key), algorithm) => {
                rsa(algorithm).is_some_and(|by| key.verify(by, message, signature).is_ok())
            }
            // Signatures are r and s one after the other (RFC 7518, section 3.4), not DER.
            (Material::P256(key), _) => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature)
                .is_ok(),
            (Material::P384(key), _) => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, key)
                .verify(message, signature)
                .is_ok(),
            (Material::Ed25519(key), _) => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static signature::RsaParameters> {
    Some(match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// A point off its curve verifies nothing, ever: better said when it is read. Agreeing on a secret with it tells.
fn on_curve(curve: &'static agreement::Algorithm, point: &[u8], length: usize) -> Result<(), &'static str> {
    let wrong = |_| "not a point of its curve";
    if point.len() != length {
        return Err("not an uncompressed point of its curve");
    }
    let mine = agreement::EphemeralPrivateKey::generate(curve, &SystemRandom::new()).map_err(wrong)?;
    agreement::agree_ephemeral(mine, &agreement::UnparsedPublicKey::new(curve, point), |_| ()).map_err(wrong)
}
