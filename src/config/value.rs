//! How a written value becomes a setting: each kind says what it wants when it does not get it.

use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use rustls_pki_types::ServerName;
use secrecy::SecretString;

use super::StaticUser;
use super::StoreUrl;
use super::file::Raw;
use super::file::Wrong;

/// What a reader returns: the value, or everything that is wrong with it.
pub(super) type Read<T> = Result<T, Vec<Wrong>>;

/// A block of addresses, `10.0.0.0/8`. The bits behind the prefix are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cidr {
    /// The first address.
    pub address: IpAddr,
    /// How many leading bits count: at most 32 or 128.
    pub prefix: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address of this host as the internet sees it, and as its interface has it. Both are of one family; they differ
/// behind 1:1 NAT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PublicAddress {
    /// What clients and peers are told.
    pub public: IpAddr,
    /// What sockets are bound to.
    pub local: IpAddr,
}

impl fmt::Display for PublicAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.public == self.local {
            write!(f, "{}", self.public)
        } else {
            write!(f, "{}/{}", self.public, self.local)
        }
    }
}

/// What a secret's reader wants.
pub(super) const A_SECRET: &str = "\"a secret\"";

fn one<T>(result: Result<T, String>) -> Read<T> {
    result.map_err(|what| vec![Wrong::from(what)])
}

/// The value as a string. A variable is always one; in a file it has to be in quotes.
fn text(value: &Value, wants: &str) -> Result<String, String> {
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Char(_, letter) => Ok(letter.to_string()),
        Value::Num(_, number) => {
            // A secret may be all digits: its text is in no complaint.
            let number = number.to_i128().filter(|_| wants != A_SECRET);
            let number = number.map_or_else(|| "this".to_owned(), |n| n.to_string());
            Err(format!("{number} is a number; write {wants} in quotes"))
        }
        other => Err(format!("this is {}; write {}", kind(other), wants.trim_end_matches(','))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "a string",
        Value::Bool(..) => "true or false",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}

/// A string that `parse` accepts. `wants` is an example in quotes, and stands in every complaint.
pub(super) fn parsed<T>(
    wants: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Raw<'_>) -> Read<T> {
    move |raw| one(text(raw.value, wants).and_then(|text| parse(text.trim())))
}

/// A list of strings that `parse` accepts. A variable may hold `a,b` or `["a", "b"]`.
pub(super) fn list<T>(
    wants: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Raw<'_>) -> Read<Vec<T>> {
    move |raw| {
        let from_text = match raw.value {
            Value::String(_, text) if raw.environment => Some(elements(text)),
            _ => None,
        };
        let values = match (raw.value, &from_text) {
            (_, Some(values)) => values,
            (Value::Array(_, values), None) => values,
            (other, None) => {
                return one(Err(format!("this is {}; write a list: [{wants}]", kind(other))));
            }
        };
        let mut good = Vec::new();
        let mut wrong = Vec::new();
        for (n, value) in values.iter().enumerate() {
            match text(value, wants).and_then(|text| parse(text.trim())) {
                Ok(value) => good.push(value),
                Err(what) => wrong.push(Wrong { element: Some(n), what }),
            }
        }
        if wrong.is_empty() { Ok(good) } else { Err(wrong) }
    }
}

/// Like `list`; one alone needs no brackets.
pub(super) fn some<T>(
    wants: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&Raw<'_>) -> Read<Vec<T>> {
    let read = list(wants, parse);
    move |raw| match raw.value {
        Value::String(_, text) if text.is_empty() => Ok(Vec::new()),
        Value::String(..) if !raw.environment => {
            let alone = Value::from(vec![raw.value.clone()]);
            read(&Raw { value: &alone, environment: false })
                .map_err(|wrong| wrong.into_iter().map(|wrong| Wrong::from(wrong.what)).collect())
        }
        _ => read(raw),
    }
}

fn elements(text: &str) -> Vec<Value> {
    let text = text.trim();
    let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    // An IPv6 socket address also begins with a bracket, but ends with a port.
    let inside = inside.unwrap_or(text);
    inside
        .split(',')
        .map(|part| part.trim().trim_matches('"'))
        .filter(|part| !part.is_empty())
        .map(Value::from)
        .collect()
}

/// A whole number within `range`.
pub(super) fn whole(range: RangeInclusive<u64>) -> impl Fn(&Raw<'_>) -> Read<u64> {
    move |raw| {
        let wants = || format!("write a whole number from {} to {}", range.start(), range.end());
        let number = match raw.value {
            Value::Num(_, number) => number.to_i128().or_else(|| number.to_u128().map(|_| i128::MAX)),
            Value::String(_, text) if raw.environment => text.trim().parse().ok(),
            _ => None,
        };
        one(match number {
            None => Err(format!("this is not a whole number; {}", wants())),
            Some(number) => u64::try_from(number)
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| format!("{number} is out of range; {}", wants())),
        })
    }
}

/// True or false. A variable says it in letters.
pub(super) fn truth(raw: &Raw<'_>) -> Read<bool> {
    one(match raw.value {
        Value::Bool(_, truth) => Ok(*truth),
        Value::String(_, text) if raw.environment => match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{other:?} is neither; write true or false")),
        },
        other => Err(format!("this is {}; write true or false, without quotes", kind(other))),
    })
}

/// Like `whole`, for the settings that are kept in 32 bits.
pub(super) fn small(range: RangeInclusive<u32>) -> impl Fn(&Raw<'_>) -> Read<u32> {
    let read = whole(u64::from(*range.start())..=u64::from(*range.end()));
    move |raw| read(raw).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A length of time between two bounds: "500ms", "30s", "5m", "1h", "2d".
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Raw<'_>) -> Read<Duration> {
    move |raw| {
        let wants = || {
            format!(
                "write one from \"{}\" to \"{}\"",
                show_duration(*range.start()),
                show_duration(*range.end())
            )
        };
        one(text(raw.value, "a time with its unit, like \"30s\",").and_then(|text| {
            let Some(time) = parse_duration(text.trim()) else {
                return Err(format!(
                    "{text:?} is not a time; write a number and its unit: \"500ms\", \"30s\", \"5m\", \"1h\", \"2d\""
                ));
            };
            if range.contains(&time) { Ok(time) } else { Err(format!("{text:?} is out of range; {}", wants())) }
        }))
    }
}

/// Reads "30s"; no sign, no fraction, no blank inside.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(at)?;
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// The shortest way to write a duration that `parse_duration` reads back (down to milliseconds).
#[must_use]
pub fn show_duration(time: Duration) -> String {
    let milliseconds = time.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds > 0 && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    if milliseconds == 0 { "0s".to_owned() } else { format!("{milliseconds}ms") }
}

/// A range of ports, "49152-65535".
pub(super) fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("{text:?} is not a range of ports; write \"49152-65535\"");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let first: u16 = first.trim().parse().map_err(|_| wrong())?;
    let last: u16 = last.trim().parse().map_err(|_| wrong())?;
    if first == 0 {
        return Err("port 0 is no port; the range begins at 1 or above".to_owned());
    }
    if first > last {
        return Err(format!("{first} is above {last}; write \"{last}-{first}\""));
    }
    if last - first < 15 {
        return Err(
            "the range holds fewer than 16 ports, and every allocation takes one; widen it".to_owned()
        );
    }
    Ok(first..=last)
}

/// An address and port to listen on, "[::]:3478".
pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().unwrap_or_default();
        let port = if port.parse::<u16>().is_ok() { port } else { "3000" };
        format!(
            "{text:?} is not an address with a port; write \"[::]:{port}\" (all addresses), \"0.0.0.0:{port}\" (IPv4) or \"127.0.0.1:{port}\" (this machine only)"
        )
    })
}

/// A block of addresses; a single address is a block of one.
pub(super) fn cidr(text: &str) -> Result<Cidr, String> {
    let wrong = || format!("{text:?} is not a block of addresses; write \"10.0.0.0/8\" or \"2001:db8::/32\"");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u8>().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let (bits, most) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let prefix = prefix.unwrap_or(most);
    if prefix > most {
        return Err(format!("/{prefix} is too long for {address}; at most /{most}"));
    }
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    if bits & !mask != 0 {
        let kept = bits & mask;
        let first: IpAddr = match address {
            IpAddr::V4(_) => std::net::Ipv4Addr::from_bits(u32::try_from(kept >> 96).unwrap_or(0)).into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::from_bits(kept).into(),
        };
        return Err(format!("{text:?} has bits set behind /{prefix}; write \"{first}/{prefix}\""));
    }
    Ok(Cidr { address, prefix })
}

/// "203.0.113.7", or "203.0.113.7/10.0.0.5" (public/local) behind 1:1 NAT.
pub(super) fn public_address(text: &str) -> Result<PublicAddress, String> {
    let wrong = || {
        format!(
            "{text:?} is not an address; write \"203.0.113.7\", or \"203.0.113.7/10.0.0.5\" (public/local) behind 1:1 NAT"
        )
    };
    let (public, local) = text.split_once('/').unwrap_or((text, text));
    let public: IpAddr = public.trim().parse().map_err(|_| wrong())?;
    let local: IpAddr = local.trim().parse().map_err(|_| wrong())?;
    if public.is_ipv4() != local.is_ipv4() {
        return Err(format!("{public} and {local} are of two families; a pair is of one"));
    }
    for address in [public, local] {
        if address.is_unspecified() || address.is_multicast() {
            return Err(format!("{address} is no host's address"));
        }
    }
    Ok(PublicAddress { public, local })
}

/// A name or address without scheme or port; empty: none.
pub(super) fn host(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if bare.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.chars().all(name)) {
        return Ok(Some(bare.to_ascii_lowercase()));
    }
    Err(format!(
        "{text:?} is not a host name; write only the name, like \"call.example.org\", without scheme, port or path"
    ))
}

/// A web origin, "https://app.example.org"; `*` is any.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "{text:?} is not an origin; write \"https://app.example.org\" (scheme, host, port if unusual, no path)"
        )
    };
    if text == "*" || text == "null" {
        return Ok(text.to_owned());
    }
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    let scheme = url.scheme_str().ok_or_else(wrong)?.to_ascii_lowercase();
    let authority = url.authority().ok_or_else(wrong)?;
    // No browser sends such a thing: it would never match.
    if authority.as_str().contains('*') {
        return Err(format!(
            "{text:?} has a \"*\" in its host; list each origin, or write \"*\" alone for any"
        ));
    }
    if url.path() != "/" || url.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let host = authority.host().to_ascii_lowercase();
    let port = match (scheme.as_str(), authority.port_u16()) {
        ("http", Some(80)) | ("https", Some(443)) | (_, None) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    if !authority.as_str().to_ascii_lowercase().ends_with(&host) && authority.port_u16().is_none() {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{host}{port}"))
}

/// The address of a web server's resource, "https://app.example.org/hooks".
pub(super) fn url(text: &str) -> Result<http::Uri, String> {
    const USER: &str = "no user name and password in it, please: what is sent is signed";
    // Its path may be a secret.
    let shown = super::show::masked_url(text);
    if shown.contains('@') {
        return Err(USER.to_owned());
    }
    let wrong = || {
        format!(
            "{shown:?} is not an address of the web; write \"https://app.example.org/hooks\" (scheme, host, port if unusual, path)"
        )
    };
    let url: http::Uri = text.parse().map_err(|_| wrong())?;
    let authority = url.authority().ok_or_else(wrong)?;
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    let good = port.is_empty() || authority.port_u16().is_some_and(|port| port != 0);
    // No certificate is for a host of another form.
    let host = ServerName::try_from(authority.host().trim_start_matches('[').trim_end_matches(']'));
    if !matches!(url.scheme_str(), Some("http" | "https")) || host.is_err() || !good {
        return Err(wrong());
    }
    Ok(url)
}

/// A file's path; empty: none.
pub(super) fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

/// Where rooms are kept: "", "memory:" or "sqlite:PATH".
pub(super) fn store(text: &str) -> Result<StoreUrl, String> {
    const WANTS: &str = "write \"sqlite:PATH\", \"memory:\", or \"\" for a file in the state folder";
    match text.split_once(':') {
        None if text.is_empty() => Ok(StoreUrl::Default),
        Some(("memory", "")) => Ok(StoreUrl::Memory),
        Some(("sqlite", path)) => {
            // "sqlite:///var/lib/x.db" is how other programs write it.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                Err(format!("it names no file; {WANTS}"))
            } else {
                Ok(StoreUrl::Sqlite(path.into()))
            }
        }
        // What stands behind it may hold a password.
        Some((scheme @ ("redis" | "rediss" | "redis+sentinel"), _)) => {
            Err(format!("{scheme} is not there yet: it comes with a later version; {WANTS}"))
        }
        _ => Err(format!("this is no store; {WANTS}")),
    }
}

/// A user name and its password, "name:password". The password is in no complaint.
pub(super) fn user(text: &str) -> Result<StaticUser, String> {
    let Some((name, password)) = text.split_once(':') else {
        return Err("a user is written \"name:password\"".to_owned());
    };
    // RFC 8489, section 14.3. A number before the colon would be an expiry.
    if name.is_empty() || name.len() > 508 || name.bytes().all(|b| b.is_ascii_digit()) {
        return Err("a user's name has 1 to 508 bytes, not all of them digits".to_owned());
    }
    Ok(StaticUser { name: name.to_owned(), password: secret(8)(password)? })
}

/// A secret of at least `shortest` characters. Its text is in no complaint.
pub(super) fn secret(shortest: usize) -> impl Fn(&str) -> Result<SecretString, String> {
    move |text| {
        if text.chars().count() < shortest {
            return Err(format!("too short to be a secret; write at least {shortest} random characters"));
        }
        Ok(SecretString::from(text))
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            format!("{text:?} is none of the choices; write {}", all.join(" or "))
        })
    }
}
