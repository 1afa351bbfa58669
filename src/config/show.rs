//! The settings as TOML, as `callgate check` prints them: every key, its value, where it came from, and no secret.

use std::fmt::Write as _;

use super::AuthKey;
use super::AuthMode;
use super::Dialect;
use super::LogFormat;
use super::RelayScope;
use super::Settings;
use super::StaticUser;
use super::StoreUrl;
use super::value::show_duration;

/// What stands in place of a secret.
const MASK: &str = "********";

/// The settings as a configuration file with the same meaning, but for the masked secrets.
#[must_use]
pub fn show(settings: &Settings) -> String {
    let s = settings;
    let mut out = Out { settings, text: String::new() };
    out.section("public");
    out.key("public.host", &quoted(s.public.host.as_deref().unwrap_or_default()));
    out.key("public.addresses", &list(&s.public.addresses));
    out.key("public.proxies", &list(&s.public.proxies));
    out.section("http");
    out.key("http.listen", &list(&s.http.listen));
    out.key("http.origins", &list(&s.http.origins));
    out.section("tls");
    let path = |path: Option<&std::path::PathBuf>| {
        quoted(&path.map(|p| p.display().to_string()).unwrap_or_default())
    };
    out.key("tls.listen", &list(s.tls.as_ref().map(|tls| tls.listen.as_slice()).unwrap_or_default()));
    out.key("tls.certificate", &path(s.tls.as_ref().map(|tls| &tls.certificate)));
    out.key("tls.key", &path(s.tls.as_ref().map(|tls| &tls.key)));
    out.section("turn");
    out.key("turn.listen", &list(&s.turn.listen));
    out.key("turn.realm", &quoted(&s.turn.realm));
    out.key("turn.secrets", &list(&s.turn.secrets.iter().map(|_| MASK).collect::<Vec<_>>()));
    out.key("turn.credential_ttl", &quoted(&show_duration(s.turn.credential_ttl)));
    out.key(
        "turn.relay_ports",
        &quoted(&format!("{}-{}", s.turn.relay_ports.start(), s.turn.relay_ports.end())),
    );
    out.key("turn.workers", &s.turn.workers);
    let scope = match s.turn.relay_scope {
        RelayScope::Room => "room",
        RelayScope::Public => "public",
    };
    out.key("turn.relay_scope", &quoted(scope));
    let masked = |user: &StaticUser| format!("{}:{MASK}", user.name);
    out.key("turn.users", &list(&s.turn.users.iter().map(masked).collect::<Vec<_>>()));
    out.key("turn.mobility", &s.turn.mobility);
    out.key("turn.tcp_relays", &s.turn.tcp_relays);
    out.key("turn.alternate", &list(&s.turn.alternate));
    out.section("turn.peers");
    out.key("turn.peers.allow", &list(&s.turn.peers.allow));
    out.key("turn.peers.deny", &list(&s.turn.peers.deny));
    out.section("turn.limits");
    out.key("turn.limits.allocations", &s.turn.limits.allocations);
    out.key("turn.limits.allocations_per_user", &s.turn.limits.allocations_per_user);
    out.key("turn.limits.allocations_per_ip", &s.turn.limits.allocations_per_ip);
    out.key("turn.limits.permissions", &s.turn.limits.permissions);
    out.key("turn.limits.channels", &s.turn.limits.channels);
    out.key("turn.limits.lifetime", &quoted(&show_duration(s.turn.limits.lifetime)));
    out.key("turn.limits.unauthenticated_per_second", &s.turn.limits.unauthenticated_per_second);
    out.key("turn.limits.bytes_per_second", &s.turn.limits.bytes_per_second);
    out.key("turn.limits.room_bytes_per_second", &s.turn.limits.room_bytes_per_second);
    out.key("turn.limits.total_bytes_per_second", &s.turn.limits.total_bytes_per_second);
    out.section("rooms");
    out.key("rooms.capacity", &s.rooms.capacity);
    out.key("rooms.waiting_timeout", &quoted(&show_duration(s.rooms.waiting_timeout)));
    out.key("rooms.grace", &quoted(&show_duration(s.rooms.grace)));
    let dialect = Dialect::NAMED.iter().find(|(_, dialect)| *dialect == s.rooms.dialect);
    out.key("rooms.dialect", &quoted(dialect.map_or("", |(name, _)| name)));
    out.key("rooms.channel_capacity", &s.rooms.channel_capacity);
    out.key("rooms.idle_ttl", &quoted(&show_duration(s.rooms.idle_ttl)));
    out.key("rooms.history", &s.rooms.history);
    out.key("rooms.history_ttl", &quoted(&show_duration(s.rooms.history_ttl)));
    out.section("auth");
    out.key("auth.mode", &quoted(if s.auth.mode == AuthMode::Jwt { "jwt" } else { "open" }));
    out.key(
        "auth.key",
        &match &s.auth.key {
            None => quoted(""),
            Some(AuthKey::Public { file: Some(file), .. }) => path(Some(file)),
            Some(_) => quoted(MASK),
        },
    );
    out.key("auth.jwks", &path(s.auth.jwks.as_ref()));
    out.key("auth.issuer", &list(&s.auth.issuer));
    out.key("auth.audience", &list(&s.auth.audience));
    out.key("auth.leeway", &quoted(&show_duration(s.auth.leeway)));
    out.key("auth.cookie", &quoted(s.auth.cookie.as_deref().unwrap_or_default()));
    out.key("auth.api_keys", &list(&s.auth.api_keys.iter().map(|_| MASK).collect::<Vec<_>>()));
    out.key("auth.open_ice", &s.auth.open_ice);
    out.section("admin");
    out.key("admin.token", &quoted(if s.admin.token.is_some() { MASK } else { "" }));
    let hooks = &s.webhooks;
    out.section("webhooks");
    let address = |url: &http::Uri| masked_url(&url.to_string());
    out.key("webhooks.urls", &list(&hooks.urls.iter().map(address).collect::<Vec<_>>()));
    out.key("webhooks.secret", &quoted(if hooks.secret.is_some() { MASK } else { "" }));
    out.key("webhooks.events", &list(&hooks.events));
    let join_url = hooks.join_url.as_ref().map(address);
    out.key("webhooks.join_url", &quoted(&join_url.unwrap_or_default()));
    out.key("webhooks.timeout", &quoted(&show_duration(hooks.timeout)));
    out.key("webhooks.ca", &path(hooks.ca.as_ref()));
    out.section("limits");
    out.key("limits.connections_per_ip", &s.limits.connections_per_ip);
    out.key("limits.connects_per_second", &s.limits.connects_per_second);
    out.key("limits.joins_per_minute", &s.limits.joins_per_minute);
    out.key("limits.events_per_second", &s.limits.events_per_second);
    out.key("limits.bytes_per_second", &s.limits.bytes_per_second);
    out.key("limits.rooms_per_user", &s.limits.rooms_per_user);
    out.key("limits.requests_per_second", &s.limits.requests_per_second);
    out.key("limits.message_bytes", &s.limits.message_bytes);
    out.section("store");
    let url = match &s.store.url {
        StoreUrl::Default => String::new(),
        StoreUrl::Memory => "memory:".to_owned(),
        StoreUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
    };
    out.key("store.url", &quoted(&url));
    out.key("store.calls", &s.store.calls);
    out.key("store.calls_ttl", &quoted(&show_duration(s.store.calls_ttl)));
    out.section("log");
    let format = match s.log.format {
        LogFormat::Auto => "auto",
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    out.key("log.format", &quoted(format));
    out.key("log.filter", &quoted(&s.log.filter));
    out.text
}

/// A URL up to its path: whoever knows the path of a receiver may be taken for us.
#[must_use]
pub fn masked_url(text: &str) -> String {
    let host = text.find("://").map_or(0, |at| at + 3);
    match text.get(host..).and_then(|rest| rest.find(['/', '?', '#'])) {
        Some(length) if length + 1 < text.len() - host => {
            format!("{}/{MASK}", text.get(..host + length).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

struct Out<'a> {
    settings: &'a Settings,
    text: String,
}

impl Out<'_> {
    fn section(&mut self, name: &str) {
        let blank = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{blank}[{name}]");
    }

    fn key(&mut self, key: &str, value: &dyn std::fmt::Display) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let line = format!("{name} = {value}");
        match self.settings.places.iter().find(|(written, _)| written == key) {
            Some((_, place)) => {
                let _ = writeln!(self.text, "{line:<40} # {place}");
            }
            None => {
                let _ = writeln!(self.text, "{line}");
            }
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn list<T: std::fmt::Display>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", values.join(", "))
}
