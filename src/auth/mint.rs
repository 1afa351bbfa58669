//! Tokens made here, for tests and for the operator: HS256 with the secret of `auth.key`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Serialize;

use super::identity::Role;

/// What a token made here says.
#[derive(Clone, Debug)]
pub struct Minted<'a> {
    /// `sub`.
    pub user: &'a str,
    /// `name`.
    pub name: Option<&'a str>,
    /// `role`; not written for users.
    pub role: Role,
    /// `rooms`; none: all of them, and not written. Empty: nowhere.
    pub rooms: Option<&'a [String]>,
    /// `iss`.
    pub issuer: Option<&'a str>,
    /// `aud`.
    pub audience: Option<&'a str>,
    /// `iat`, in seconds since 1970.
    pub now: u64,
    /// `exp`, in seconds since 1970.
    pub expires: u64,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: u64,
    exp: u64,
}

/// A token that says this, signed by HS256.
#[must_use]
pub fn mint(secret: &SecretString, it: &Minted<'_>) -> String {
    let claims = Claims {
        sub: it.user,
        name: it.name,
        role: (it.role != Role::User).then(|| it.role.to_string()),
        rooms: it.rooms,
        iss: it.issuer,
        aud: it.audience,
        iat: it.now,
        exp: it.expires,
    };
    // Strings and numbers always are JSON.
    let claims = serde_json::to_string(&claims).unwrap_or_default();
    let [header, claims] =
        [r#"{"alg":"HS256","typ":"JWT"}"#, &claims].map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{header}.{claims}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
}
