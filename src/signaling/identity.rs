//! Who a connection belongs to.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::session::LABEL;
use crate::auth;
use crate::auth::Role;
use crate::label;
use crate::rooms::Now;
use crate::rooms::Rank;
use crate::rooms::Who;

/// Who a connection belongs to: as a token proves, or as the client says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The user; none: the client says who it is with each join, if at all.
    pub user: Option<Arc<str>>,
    /// What to call it.
    pub name: Option<Arc<str>>,
    /// What it is in every room.
    pub rank: Rank,
    /// A token proves it: nothing that the client says changes it.
    pub proven: bool,
    /// It may do what the operator may, in the rooms that it may enter.
    pub admin: bool,
    /// Where it may go; none: everywhere.
    pub rooms: Option<Arc<[Box<str>]>>,
    /// When what proves it is good no longer.
    pub expires: Option<Instant>,
}

/// Nothing here lives longer than this; a token may.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

impl Identity {
    /// What the client says of itself in its handshake: `userId` and `username` (or `name`), in `auth` or in the query.
    pub(super) fn claimed(auth: Option<&str>, query: &str) -> Option<Identity> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Auth {
            user_id: Option<Word>,
            username: Option<Word>,
            name: Option<Word>,
        }
        /// Numbers are what they would be in the query; what can be no name is none, and takes nothing else along.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Text(String),
            Number(serde_json::Number),
            Other(IgnoredAny),
        }
        let word = |word: Option<Word>| match word? {
            Word::Text(text) => Some(text),
            Word::Number(number) => Some(number.to_string()),
            Word::Other(IgnoredAny) => None,
        };
        let auth: Auth = auth.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let from_query = |key: &str| {
            form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == key).map(|(_, v)| v.into_owned())
        };
        let label = |text: Option<String>| {
            text.filter(|text| !text.is_empty() && text.len() <= LABEL).map(Arc::<str>::from)
        };
        let user = label(word(auth.user_id).or_else(|| from_query("userId")));
        let name = word(auth.username).or_else(|| word(auth.name)).or_else(|| from_query("username"));
        let name = name.and_then(|name| label::shown(&name)).map(Arc::<str>::from);
        (user.is_some() || name.is_some()).then(|| Identity { user, name, ..Identity::default() })
    }

    /// What a token proves. It may not say what its bearer is called: `said` is what the bearer says.
    pub(super) fn proven(token: auth::Identity, said: Option<Identity>, now: Now) -> Identity {
        let left = Duration::from_millis((token.expires.saturating_mul(1000)).saturating_sub(now.unix_ms));
        Identity {
            user: Some(token.user),
            name: token.name.or_else(|| said.and_then(|said| said.name)),
            // There is one creator in a room; an admin's power is the operator's.
            rank: if token.role == Role::User { Rank::Member } else { Rank::Moderator },
            proven: true,
            admin: token.role == Role::Admin,
            rooms: token.rooms,
            expires: Some(now.at + left.min(LONGEST)),
        }
    }

    /// Whether it may have to do with this room at all.
    pub(super) fn allows(&self, room: &str) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.iter().any(|allowed| **allowed == *room))
    }

    /// Whether it may do all that the other may, but for rooms.
    pub(super) fn reaches(&self, other: &Identity) -> bool {
        self.rank >= other.rank && self.admin >= other.admin
    }

    /// Who joins, if this is what it says with the join.
    pub(super) fn who(&self, user: Option<Arc<str>>, name: Option<Arc<str>>) -> Who {
        if self.proven {
            return Who { user: self.user.clone(), name: self.name.clone().or(name), rank: self.rank };
        }
        Who {
            user: user.or_else(|| self.user.clone()),
            name: name.or_else(|| self.name.clone()),
            rank: self.rank,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_who_it_is_in_auth_or_in_the_query() {
        let claimed = |auth, query| Identity::claimed(auth, query).map(|it| (it.user, it.name));
        let ada = |name: Option<&str>| Some((Some("ada".into()), name.map(Arc::from)));
        assert_eq!(claimed(Some(r#"{"userId":"ada","username":"Ada"}"#), ""), ada(Some("Ada")));
        assert_eq!(
            claimed(Some(r#"{"userId":42,"username":"Ada"}"#), ""),
            Some((Some("42".into()), Some("Ada".into())))
        );
        for odd in [
            r#"{"userId":"ada","username":["x"],"name":{"a":1}}"#,
            r#"{"userId":"ada","username":true,"name":null}"#,
        ] {
            assert_eq!(claimed(Some(odd), ""), ada(None), "{odd}");
        }
        assert_eq!(
            claimed(Some(r#"{"token":"x"}"#), "EIO=4&userId=ada&username=Ada%20L"),
            ada(Some("Ada L"))
        );
        assert_eq!(claimed(None, "userId=ada"), ada(None));
        for (auth, query) in
            [(None, ""), (Some("{}"), "userId="), (Some("[]"), "x=1"), (Some(r#"{"userId":{}}"#), "")]
        {
            assert_eq!(claimed(auth, query), None, "{auth:?} {query}");
        }
        assert_eq!(claimed(None, &format!("userId={}", "x".repeat(LABEL + 1))), None);
    }

    #[test]
    fn what_is_proven_is_not_changed_by_what_is_said() {
        let proven = Identity { user: Some("ada".into()), proven: true, ..Identity::default() };
        let who = proven.who(Some("eve".into()), Some("Eve".into()));
        assert_eq!((who.user.as_deref(), who.name.as_deref()), (Some("ada"), Some("Eve")));
        let said = Identity { user: Some("ada".into()), ..Identity::default() };
        assert_eq!(said.who(Some("bob".into()), None).user.as_deref(), Some("bob"));
        assert_eq!(said.who(None, None).user.as_deref(), Some("ada"));
    }

    fn token(role: Role, expires: u64) -> auth::Identity {
        let rooms = Some(Arc::from([Box::from("tea")]));
        auth::Identity { user: "ada".into(), name: None, role, rooms, expires }
    }

    #[test]
    fn a_token_says_who_it_is_until_when_and_where_to() {
        let now = Now { at: Instant::now(), unix_ms: 5_000_500 };
        let said = Identity { user: Some("eve".into()), name: Some("Ada".into()), ..Identity::default() };
        let it = Identity::proven(token(Role::Moderator, 5_010), Some(said), now);
        assert_eq!((it.user.as_deref(), it.name.as_deref()), (Some("ada"), Some("Ada")));
        assert_eq!((it.rank, it.admin, it.proven), (Rank::Moderator, false, true));
        assert_eq!(it.expires, Some(now.at + Duration::from_millis(9_500)));
        assert!(it.allows("tea") && !it.allows("coffee"));
        let admin = Identity::proven(token(Role::Admin, u64::MAX), None, now);
        assert!(admin.admin && admin.rank == Rank::Moderator && admin.expires > it.expires);
        assert!(admin.reaches(&it) && !it.reaches(&admin));
        let over = Identity::proven(token(Role::User, 1), None, now);
        assert!(over.expires == Some(now.at) && !over.reaches(&it) && it.reaches(&over));
    }
}
