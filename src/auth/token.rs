//! A token as it comes: three parts in base64url (RFC 7515, section 7.1), of which the first two are JSON objects.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;

use super::algorithm::Algorithm;
use super::key::LONGEST_KID;
use super::refused::Refused;

/// The longest token, in bytes.
pub(super) const LONGEST: usize = 8192;

/// A token taken apart; nothing of it is verified.
pub(super) struct Token<'a> {
    /// `None`: one that is not known here.
    pub(super) algorithm: Option<Algorithm>,
    /// Only ever compared.
    pub(super) kid: Option<String>,
    /// What is signed: the first two parts with their dot.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    /// The second part, decoded.
    pub(super) payload: Vec<u8>,
}

/// What is read of the header. A key or a certificate that comes with the token (`jwk`, `jku`, `x5c`, `x5u`) is not. A member that is
/// there twice is an error.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    /// Whether it is there at all.
    #[serde(default, deserialize_with = "there")]
    crit: bool,
}

fn there<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

impl<'a> Token<'a> {
    pub(super) fn read(text: &'a str) -> Result<Token<'a>, Refused> {
        if text.len() > LONGEST {
            return Err(Refused::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Refused::Malformed)?;
        // Strictly: without padding, and with no bits that mean nothing. A fourth part has a dot, which is none of the alphabet.
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed);
        let (header, payload, signature) = (decoded(header)?, decoded(payload)?, decoded(signature)?);
        let header: Header<'_> = object(&header).ok_or(Refused::Malformed)?;
        // RFC 7515, section 4.1.11: who does not understand what is critical refuses, and we understand none of it.
        if header.crit {
            return Err(Refused::Critical);
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(Refused::Malformed);
        }
        Ok(Token {
            algorithm: Algorithm::named(&header.alg),
            kid: header.kid.map(Cow::into_owned),
            message: message.as_bytes(),
            signature,
            payload,
        })
    }
}

/// A JSON object: serde would take a list of the values for it as well.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first != b'{' {
        return None;
    }
    serde_json::from_slice(json).ok()
}
