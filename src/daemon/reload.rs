//! SIGHUP: the configuration is read again, and what can change under a running daemon changes. A configuration with a mistake
//! changes nothing.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use anyhow::anyhow;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::auth::Tokens;
use crate::config;
use crate::config::Auth;
use crate::config::AuthKey;
use crate::config::Mistakes;
use crate::config::Settings;
use crate::config::State;
use crate::gate;
use crate::http::Access;
use crate::ice::Signer;
use crate::log;
use crate::relay::Relay;
use crate::signaling::Signaling;

/// Keys that need no restart.
const LIVE: [&str; 15] = [
    "turn.secrets",
    "turn.users",
    "tls.certificate",
    "tls.key",
    "auth.mode",
    "auth.key",
    "auth.jwks",
    "auth.issuer",
    "auth.audience",
    "auth.leeway",
    "auth.cookie",
    "auth.api_keys",
    "auth.open_ice",
    "admin.token",
    "log.filter",
];

/// The parts of the daemon that a new configuration reaches.
pub(super) struct Live<'a> {
    /// Reads the configuration the way it was read at the start.
    pub(super) reread: &'a dyn Fn() -> Result<Settings, Mistakes>,
    /// What the daemon was started with.
    pub(super) started: &'a Settings,
    /// What is in force.
    pub(super) current: Settings,
    pub(super) state: &'a State,
    pub(super) relay: &'a Relay,
    pub(super) signer: Signer,
    pub(super) signaling: &'a Signaling,
    pub(super) serving: &'a gate::Serving,
    pub(super) access: &'a Access,
    pub(super) tokens: &'a Tokens,
}

impl Live<'_> {
    /// Reads the configuration and applies it; says what came of it in the log, and in a line for who waits.
    pub(super) fn reload(&mut self) -> String {
        match self.apply() {
            Ok(restart) => {
                tracing::info!("configuration reloaded");
                if restart.is_empty() {
                    "reloaded".to_owned()
                } else {
                    format!("reloaded; a restart is needed for {restart}")
                }
            }
            Err(mistakes) => {
                for mistake in &mistakes {
                    tracing::error!("{mistake:#}");
                }
                tracing::error!("the configuration was not reloaded: all stays as it was");
                "not reloaded: the configuration is wrong, all stays as it was".to_owned()
            }
        }
    }

    /// Returns the keys that have changed and need a restart, one after the other.
    fn apply(&mut self) -> Result<String, Vec<anyhow::Error>> {
        let new = (self.reread)()
            .map_err(|Mistakes(all)| all.iter().map(|mistake| anyhow!("{mistake}")).collect::<Vec<_>>())?;
        let one = |error: anyhow::Error| vec![error];
        if let (Some(file), None) = (&self.current.file, &new.file) {
            return Err(one(anyhow!("{} is gone", file.display())));
        }
        // What can still fail comes first.
        let secret = super::secret(self.state, "turn-secret", new.turn.secrets.first()).map_err(one)?.0;
        let admin_token = super::secret(self.state, "admin-token", new.admin.token.as_ref()).map_err(one)?.0;
        let mut usable = new.clone();
        if self.started.http.lets_any_page_in() {
            usable.auth.cookie = None;
        }
        let keyring = super::access::keyring(&usable).map_err(|error| one(error.into()))?;
        if let Some(tls) = &new.tls {
            let reloaded = self.serving.reload_certificates(tls);
            reloaded.map_err(|error| one(super::access::certificate(&new, error)))?;
        }
        let fresh = changed(&self.current, &new);
        if fresh.contains("turn.secrets") || fresh.contains("turn.users") {
            self.relay.set_keys(super::media::keys(&new, &secret));
            if self.signer.set(secret) {
                // The old one may be out of force already.
                self.signaling.renew();
            }
        }
        // The files of keys may have changed without a word in the configuration.
        self.access.change(super::access::keys(&new, admin_token));
        self.tokens.change(keyring);
        if fresh.contains("log.filter") {
            log::set_filter(&new.log.filter);
        }
        for key in fresh.iter().filter(|key| self.is_live(key, &new)) {
            tracing::info!(key, "changed, and in force");
        }
        // Since the start: what a reload could not change still waits for the restart after the next one.
        let waiting: Vec<String> =
            changed(self.started, &new).into_iter().filter(|key| !self.is_live(key, &new)).collect();
        for key in &waiting {
            tracing::warn!(key, place = %new.place(key), "changed, and needs a restart to be in force");
        }
        self.current = new;
        Ok(waiting.join(", "))
    }

    /// A certificate can change where there was one and still is: the ports of TLS neither come nor go. And no cookie speaks for
    /// users for as long as any page may ask: the origins stay until the restart.
    fn is_live(&self, key: &str, new: &Settings) -> bool {
        let tls = self.started.tls.is_some() && new.tls.is_some();
        let cookie = new.auth.cookie.is_none() || !self.started.http.lets_any_page_in();
        LIVE.contains(&key) && (tls || !key.starts_with("tls.")) && (cookie || key != "auth.cookie")
    }
}

/// The keys whose values differ.
fn changed(old: &Settings, new: &Settings) -> BTreeSet<String> {
    let (before, after) = (values(old), values(new));
    let mut keys: BTreeSet<String> = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(*value))
        .map(|(key, _)| key.clone())
        .collect();
    // Those are masked.
    let secrets = [
        ("turn.secrets", plain(&old.turn.secrets) == plain(&new.turn.secrets)),
        ("turn.users", users(old) == users(new)),
        ("admin.token", plain(old.admin.token.as_slice()) == plain(new.admin.token.as_slice())),
        ("auth.key", key(&old.auth) == key(&new.auth)),
        ("webhooks.secret", plain(old.webhooks.secret.as_slice()) == plain(new.webhooks.secret.as_slice())),
        ("webhooks.urls", old.webhooks.urls == new.webhooks.urls),
        ("webhooks.join_url", old.webhooks.join_url == new.webhooks.join_url),
        ("auth.api_keys", plain(&old.auth.api_keys) == plain(&new.auth.api_keys)),
    ];
    keys.extend(secrets.into_iter().filter(|(_, same)| !same).map(|(key, _)| key.to_owned()));
    keys
}

fn plain(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(ExposeSecret::expose_secret).collect()
}

fn key(auth: &Auth) -> Option<&str> {
    auth.key.as_ref().map(|key| match key {
        AuthKey::Secret(secret) => secret.expose_secret(),
        AuthKey::Public { pem, .. } => pem,
    })
}

fn users(settings: &Settings) -> Vec<(&str, &str)> {
    settings.turn.users.iter().map(|user| (user.name.as_str(), user.password.expose_secret())).collect()
}

/// Every key with its value, as `callgate check` prints them.
fn values(settings: &Settings) -> BTreeMap<String, toml::Value> {
    let mut values = BTreeMap::new();
    // It is TOML that we have written ourselves.
    let table: toml::Table = config::show(settings).parse().unwrap_or_default();
    flatten("", table, &mut values);
    values
}

fn flatten(under: &str, table: toml::Table, into: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let key = if under.is_empty() { name } else { format!("{under}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, into),
            value => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Environment;

    use super::*;

    fn settings(text: &str) -> Settings {
        config::read(None, text, &Environment::new()).unwrap()
    }

    #[test]
    fn every_change_is_seen_secrets_too() {
        let old = settings("turn.secrets = [\"north wind\"]");
        assert!(changed(&old, &old).is_empty());
        for (text, keys) in [
            ("turn.secrets = [\"south wind\"]", &["turn.secrets"][..]),
            ("turn.secrets = [\"south wind\", \"north wind\"]", &["turn.secrets"]),
            ("turn.secrets = [\"north wind\"]\nturn.users = [\"amy:passw0rd!\"]", &["turn.users"]),
            ("turn.secrets = [\"north wind\"]\nadmin.token = \"open sesame, please\"", &["admin.token"]),
            ("turn.secrets = [\"north wind\"]\nwebhooks.secret = \"open sesame\"", &["webhooks.secret"]),
            ("turn.secrets = [\"north wind\"]\nauth.api_keys = [\"open sesame open\"]", &["auth.api_keys"]),
            (
                "turn.secrets = [\"north wind\"]\nturn.realm = \"x\"\nrooms.grace = \"1s\"\nhttp.listen = [\"[::]:1\"]",
                &["http.listen", "rooms.grace", "turn.realm"],
            ),
        ] {
            let found = changed(&old, &settings(text));
            assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), keys, "{text}");
        }
        let (one, other) =
            (settings("turn.users = [\"amy:passw0rd!\"]"), settings("turn.users = [\"amy:passw1rd!\"]"));
        assert!(changed(&one, &other).contains("turn.users"), "only the password differs");
        let [one, other] = ["a", "b"].map(|path| {
            settings(&format!(
                "[webhooks]\nurls = [\"https://x.example/{path}\"]\njoin_url = \"https://x.example/{path}\""
            ))
        });
        let paths = changed(&one, &other);
        assert!(
            paths.contains("webhooks.urls") && paths.contains("webhooks.join_url"),
            "only the paths differ"
        );
    }

    #[test]
    fn what_can_change_live_are_keys_that_exist() {
        let all = values(&settings(""));
        assert!(all.len() > 20, "{all:?}");
        for key in LIVE {
            assert!(all.contains_key(key), "{key}");
        }
    }
}
