//! What opens what, as the configuration has it: the operator's token, back ends' keys, the keys of user tokens.

use std::sync::Arc;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use secrecy::SecretString;
use serde_json::json;

use crate::auth;
use crate::auth::Keyring;
use crate::auth::Role;
use crate::auth::Tokens;
use crate::config;
use crate::config::AuthKey;
use crate::config::AuthMode;
use crate::config::Mistakes;
use crate::config::Settings;
use crate::gate;
use crate::http;
use crate::signaling::Moment;

/// The keys of user tokens.
///
/// # Errors
/// One cannot be used: told with its place.
pub fn keyring(settings: &Settings) -> Result<Keyring, Mistakes> {
    Keyring::read(&settings.auth).map_err(|unusable| settings.mistake(unusable.key, unusable.what))
}

/// Says where a certificate that cannot be used is set, and what is to be done.
pub(super) fn certificate(settings: &Settings, error: gate::CertificateError) -> anyhow::Error {
    match settings.tls.as_ref().and_then(|tls| error.setting(tls)) {
        Some(key) => {
            let what = format!(
                "{error}; name the certificate with its chain in tls.certificate, and the key that it was made for in tls.key"
            );
            settings.mistake(key, what).into()
        }
        None => error.into(),
    }
}

/// What is to be said of tokens that prove who somebody is where nobody needs one.
pub(super) fn complaint(settings: &Settings) -> Option<String> {
    let auth = &settings.auth;
    let key = if auth.key.is_some() { "auth.key" } else { "auth.jwks" };
    let proves_nothing = auth.mode == AuthMode::Open && (auth.key.is_some() || auth.jwks.is_some());
    proves_nothing.then(|| {
        format!(
            "{}: {key}: auth.mode is \"open\": whoever comes without a token is still who they say they are, and has what belongs to the users of tokens: rooms they made, what was said there, their contacts. Set auth.mode = \"jwt\" if tokens are to prove anything",
            settings.place(key)
        )
    })
}

/// Verifies user tokens, and watches the file of their keys. Call it within a tokio runtime.
pub(super) fn tokens(keyring: Keyring) -> Arc<Tokens> {
    let tokens = Arc::new(Tokens::new(keyring));
    tokio::spawn(auth::watch(Arc::downgrade(&tokens)));
    tokens
}

/// What opens what over HTTP.
pub(super) fn keys(settings: &Settings, admin_token: SecretString) -> http::Keys {
    let auth = &settings.auth;
    http::Keys { admin_token, api_keys: auth.api_keys.clone(), open_ice: auth.open_ice, mint: mint(auth) }
}

/// What makes tokens that are good here: there has to be a secret to sign them with.
fn mint(auth: &config::Auth) -> Option<http::Mint> {
    let secret = match &auth.key {
        Some(AuthKey::Secret(secret)) => secret.clone(),
        Some(AuthKey::Public { .. }) | None => return None,
    };
    let (issuer, audience) = (auth.issuer.first().cloned(), auth.audience.first().cloned());
    Some(Arc::new(move |wanted: &http::Token<'_>| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let expires = now.saturating_add(wanted.ttl.as_secs());
        let role = match wanted.role {
            "admin" => Role::Admin,
            "moderator" => Role::Moderator,
            _ => Role::User,
        };
        let token = auth::mint(
            &secret,
            &auth::Minted {
                user: wanted.user,
                name: wanted.name,
                role,
                rooms: wanted.rooms,
                issuer: issuer.as_deref(),
                audience: audience.as_deref(),
                now,
                expires,
            },
        );
        json!({ "token": token, "expiresAt": Moment(expires.saturating_mul(1000)).to_string() })
    }))
}
