//! Public keys in PEM form: `PUBLIC KEY` (RFC 5280's SubjectPublicKeyInfo) and `RSA PUBLIC KEY` (RFC 8017, appendix A.1.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::key::Key;

const BIT_STRING: u8 = 3;
const INTEGER: u8 = 2;
const SEQUENCE: u8 = 0x30;

/// Algorithm identifiers, whole: object, and curve where there is one.
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
const P256: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22];
const ED25519: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];

/// All the public keys in `text`.
///
/// # Errors
/// One of them cannot be used, or there is none.
pub(super) fn keys(text: &str) -> Result<Vec<Key>, &'static str> {
    let mut keys = Vec::new();
    let mut rest = text;
    while let Some((_, from)) = rest.split_once("-----BEGIN ") {
        let (label, from) = from.split_once("-----").ok_or("it breaks off")?;
        let (body, after) = from.split_once("-----END ").ok_or("it breaks off")?;
        rest = after;
        let base64: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(base64).map_err(|_| "not base64")?;
        match label {
            "PUBLIC KEY" => keys.push(public(&der)?),
            "RSA PUBLIC KEY" => keys.push(rsa(&der)?),
            _ => return Err("something else than public keys is in it"),
        }
    }
    if keys.is_empty() { Err("there is none") } else { Ok(keys) }
}

fn public(der: &[u8]) -> Result<Key, &'static str> {
    let what = "not a public key in DER";
    let inside = whole(SEQUENCE, der).ok_or(what)?;
    let (algorithm, rest) = value(SEQUENCE, inside).ok_or(what)?;
    // The first byte says how many bits of the last one do not count: none, in a key.
    let [0, key @ ..] = whole(BIT_STRING, rest).ok_or(what)? else { return Err(what) };
    match algorithm {
        RSA => rsa(key),
        P256 => Key::p256(key),
        P384 => Key::p384(key),
        ED25519 => Key::ed25519(key),
        _ => Err("a kind that is not known here; RSA, EC (P-256 or P-384) and Ed25519 are"),
    }
}

fn rsa(der: &[u8]) -> Result<Key, &'static str> {
    let what = "not an RSA key in DER";
    let inside = whole(SEQUENCE, der).ok_or(what)?;
    let (n, rest) = value(INTEGER, inside).ok_or(what)?;
    Key::rsa(n, whole(INTEGER, rest).ok_or(what)?)
}

/// The content of the only value, of this tag, in `der`.
fn whole(tag: u8, der: &[u8]) -> Option<&[u8]> {
    value(tag, der).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// The content of the first value, of this tag, and what comes behind it.
fn value(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ ..=0x7f => (short, rest),
        long @ (0x81 | 0x82) => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
