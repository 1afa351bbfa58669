//! What opens what, as the configuration has it: the operator's token, back ends' keys, the keys of user tokens.

use std::sync::Arc;

use secrecy::SecretString;

use crate::auth;
use crate::auth::Keyring;
use crate::auth::Tokens;
use crate::config::Mistake;
use crate::config::Mistakes;
use crate::config::Place;
use crate::config::Settings;
use crate::http;

/// The keys of user tokens.
///
/// # Errors
/// One cannot be used: told with its place.
pub(super) fn keyring(settings: &Settings) -> Result<Keyring, Mistakes> {
    Keyring::read(&settings.auth).map_err(|unusable| {
        let written = settings.places.iter().find(|(written, _)| written == unusable.key);
        let place = written.map_or(Place::Missing, |(_, place)| place.clone());
        Mistakes(vec![Mistake { place, key: unusable.key.to_owned(), what: unusable.what }])
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
    http::Keys { admin_token, api_keys: auth.api_keys.clone(), open_ice: auth.open_ice }
}
