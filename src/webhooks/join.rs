//! The question whether somebody may join a room, and what an answer means. Whatever is not a clear yes is none.

use std::net::IpAddr;

use serde::Deserialize;
use serde::Serialize;

use super::carrier::Answer;
use crate::label;

/// The longest code and message that are taken over, in characters.
const CODE: usize = 32;
const MESSAGE: usize = 200;

/// Who wants to join which room.
#[derive(Clone, Debug, Serialize)]
pub struct JoinAsk<'a> {
    /// The room's id.
    pub room: &'a str,
    /// The room's kind: `call`, `room` or `channel`.
    pub kind: &'a str,
    /// The user, as far as known.
    pub user: Option<&'a str>,
    /// The display name that is wished for.
    pub name: Option<&'a str>,
    /// Where the connection comes from.
    pub address: Option<IpAddr>,
    /// What the client speaks.
    pub dialect: &'a str,
}

/// What somebody is in a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// One of many.
    Member,
    /// Who may put others out.
    Moderator,
}

/// Whether it may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Yes.
    Allowed {
        /// The display name to have instead of the one wished for.
        name: Option<String>,
        /// The role to have.
        role: Option<Role>,
    },
    /// No.
    Denied {
        /// For programs: `a-z`, digits and `-`; `forbidden` if the receiver gave none.
        code: String,
        /// For people.
        message: String,
    },
    /// Nobody said so in time: no, for now.
    Unreachable,
}

impl Decision {
    /// What an answer means: 200 with `{"allow": true, "name"?, "role"?}` or `{"allow": false, "code"?, "message"?}`, or 403 with
    /// or without the latter.
    pub(super) fn of(answer: &Answer) -> Decision {
        #[derive(Default, Deserialize)]
        struct Said {
            allow: bool,
            name: Option<String>,
            role: Option<Role>,
            code: Option<String>,
            message: Option<String>,
        }
        let said = serde_json::from_slice::<Said>(&answer.body);
        let said = match (answer.status, said) {
            (200..300, Ok(said)) => said,
            (403, said) => Said { allow: false, ..said.unwrap_or_default() },
            _ => return Decision::Unreachable,
        };
        if said.allow {
            let name = said.name.and_then(|name| label::shown(&name));
            return Decision::Allowed { name, role: said.role };
        }
        let plain = |code: &String| {
            (1..=CODE).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let code = said.code.filter(plain).unwrap_or_else(|| "forbidden".to_owned());
        let message = said.message.unwrap_or_else(|| "you may not join this room".to_owned());
        Decision::Denied { code, message: message.chars().take(MESSAGE).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(status: u16, body: &str) -> Decision {
        Decision::of(&Answer { status, retry_after: None, body: body.to_owned().into() })
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        let yes = |name: Option<&str>, role| Decision::Allowed { name: name.map(str::to_owned), role };
        assert_eq!(decided(200, r#"{"allow":true}"#), yes(None, None));
        assert_eq!(
            decided(201, r#"{"allow":true,"name":"Ada\u0000","role":"moderator","more":1}"#),
            yes(Some("Ada"), Some(Role::Moderator))
        );
        // No longer than one that survives a restart.
        let long = format!(r#"{{"allow":true,"name":"{}"}}"#, "😀".repeat(64));
        assert_eq!(decided(200, &long), yes(Some(&"😀".repeat(32)), None));
        for (status, body) in [
            (200, ""),
            (200, "{}"),
            (200, "true"),
            (200, r#"{"allow":"yes"}"#),
            (200, r#"{"allow":1}"#),
            (200, r#"{"allow":true,"role":"king"}"#),
            (204, ""),
            (302, r#"{"allow":true}"#),
            (401, r#"{"allow":true}"#),
            (500, r#"{"allow":true}"#),
        ] {
            assert_eq!(decided(status, body), Decision::Unreachable, "{status} {body}");
        }
    }

    #[test]
    fn a_no_has_its_reason() {
        let no = |code: &str, message: &str| Decision::Denied { code: code.into(), message: message.into() };
        let forbidden = no("forbidden", "you may not join this room");
        assert_eq!(decided(403, ""), forbidden);
        assert_eq!(decided(403, r#"{"allow":true}"#), forbidden, "the status counts");
        assert_eq!(decided(200, r#"{"allow":false}"#), forbidden);
        let said = r#"{"allow":false,"code":"not-invited","message":"ask Ada"}"#;
        assert_eq!(decided(200, said), no("not-invited", "ask Ada"));
        assert_eq!(decided(200, r#"{"allow":false,"code":"A b\n","message":"m"}"#), no("forbidden", "m"));
        let long = format!(r#"{{"allow":false,"message":"{}"}}"#, "ü".repeat(999));
        assert_eq!(decided(200, &long), no("forbidden", &"ü".repeat(MESSAGE)));
    }
}
