//! Where socketioxide hands over: connections, their events in order, and their end.
//!
//! Its own closures run as tasks of their own, in any order, and the connect handler runs after the client has been told
//! that it is connected. So the handlers are written by hand: they are called in place, and those for events are there
//! before the client is told anything. Its socket ids are the keys of the transport sessions: they never leave.

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::ConnectHandler;
use socketioxide::handler::DisconnectHandler;
use socketioxide::handler::MessageHandler;
use socketioxide::handler::Value;
use socketioxide::socket::DisconnectReason;
use socketioxide::socket::Sid;

use super::account::Accounts;
use super::connection::Connection;
use super::connection::Item;
use super::connection::Transport;
use super::dialect::COMMUNITY;
use super::dialect::Dialect;
use super::error::Code;
use super::error::Failure;
use super::hub::Hub;
use super::identity::Identity;
use super::offset::Offsets;
use super::visitor::Visitor;
use crate::auth::Tokens;
use crate::auth::bearer;

/// Marks our handlers for socketioxide's traits.
pub(super) enum Ours {}

/// Where clients come in.
#[derive(Clone)]
pub(super) struct Door(pub(super) Arc<Hub>);

/// One client's handler.
struct Client {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
}

pub(super) type Admitted<'a> = Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>>;

impl ConnectHandler<LocalAdapter, Ours> for Door {
    /// The client has been told that it is connected.
    fn call(&self, socket: Arc<Transport>, _auth: Option<Value>) {
        if let Some(connection) = socket.extensions.get::<Arc<Connection>>() {
            self.0.open(&connection);
        }
    }

    /// Before the client is told.
    fn call_middleware<'a>(&'a self, socket: Arc<Transport>, auth: &'a Option<Value>) -> Admitted<'a> {
        let said = auth.as_ref().and_then(Value::as_str);
        let query = socket.req_parts().uri.query().unwrap_or_default();
        let claimed = Identity::claimed(said.map(|text| &**text), query);
        let now = Hub::now().at;
        let address = Connection::address(&socket);
        let from = self.0.bank.accounts(address, None, now).address;
        let own = Visitor::of(&socket).map(Visitor::own).unwrap_or_default();
        let counted = self.0.bank.comes([from.as_deref(), Some(&own)], now);
        let counted = counted.and_then(|line| self.0.bank.shows(from.as_deref(), now).map(|()| line));
        let counted = counted.map_err(|_| Code::TooManyRequests);
        let looked = |line| Ok((line, self.identity(&socket, said.map(|text| &**text), claimed)?));
        let (line, identity) = match counted.and_then(looked) {
            Ok(it) => it,
            Err(code) => return self.refused(&socket, code),
        };
        self.0.bank.is_let_in(from.as_deref());
        if let Some(offsets) = Offsets::asked(said.map(|text| &**text)) {
            socket.extensions.insert(Arc::new(offsets));
        }
        let dialect = asked_in_auth(auth.as_ref())
            .or_else(|| asked_in_query(query))
            .or_else(|| shown_in_query(query))
            .unwrap_or(self.0.dialect);
        let user = identity.as_ref().filter(|it| it.proven).and_then(|it| it.user.as_ref());
        let (accounts, wait) = match user {
            Some(_) => {
                let accounts = self.0.bank.accounts(address, user, now);
                let wait = self.0.bank.connect(&accounts, now).map(|its| its.max(line));
                (accounts, wait)
            }
            // Whom nobody can prove to be a user is counted by the address and the transport alone.
            None => (Accounts { own, address: from }, Ok(line)),
        };
        let comes = Comes { before: sid_before(query), dialect, identity, accounts };
        match wait {
            Ok(Duration::ZERO) => {
                self.admit(&socket, comes);
                Box::pin(std::future::ready(Ok(())))
            }
            Ok(wait) => Box::pin(async move {
                tokio::time::sleep(wait).await;
                self.admit(&socket, comes);
                Ok(())
            }),
            Err(_) => self.refused(&socket, Code::TooManyRequests),
        }
    }
}

/// All that a connect_error can carry here is a message: it is the code. While one is held back, socketioxide passes over what
/// the client asks for in the same namespace.
pub(super) fn refusal(socket: &Transport, code: Code) -> Admitted<'static> {
    let wait = Visitor::of(socket).map_or(Duration::ZERO, Visitor::is_refused);
    Box::pin(async move {
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Err(Box::new(code.name()) as Box<dyn Display + Send>)
    })
}

/// Somebody who may come in.
struct Comes {
    /// The id of the connection that it had before.
    before: Option<Sid>,
    dialect: &'static Dialect,
    identity: Option<Identity>,
    accounts: Accounts,
}

impl Door {
    fn refused(&self, socket: &Transport, code: Code) -> Admitted<'static> {
        self.0.counters.failed(code);
        refusal(socket, code)
    }

    fn admit(&self, socket: &Arc<Transport>, comes: Comes) {
        let Comes { before, dialect, identity, accounts } = comes;
        let number = self.0.number();
        let connection = Arc::new(Connection::new(&self.0, number, socket, dialect, identity, accounts));
        if let Some(before) = before {
            // Nothing has come yet: it is carried out before all that does.
            let _ = connection.inbox.push(Item::Back(before), 0, true);
        }
        socket.extensions.insert(connection.clone());
        socket.on_fallback(Client { hub: self.0.clone(), connection: connection.clone() });
        socket.on_disconnect(Client { hub: self.0.clone(), connection });
    }

    /// Who comes: as a token proves, in the handshake's `auth`, in its `Authorization`, or else in the cookie; or as the client says,
    /// where that will do.
    ///
    /// A page of a foreign origin does not get here: whose cookie it is, its browser is asked by `http::guard`.
    fn identity(
        &self,
        socket: &Transport,
        auth: Option<&str>,
        claimed: Option<Identity>,
    ) -> Result<Option<Identity>, Code> {
        let tokens = &self.0.tokens;
        let (required, headers) = (tokens.required(), &socket.req_parts().headers);
        let shown = auth
            .and_then(token_in_auth)
            .or_else(|| bearer(headers).and_then(|it| std::str::from_utf8(it).ok()).map(Cow::Borrowed));
        let verify = |token: &str| {
            tokens.verify(token).map_err(|refused| {
                tracing::debug!(%refused, "a token was refused");
                Failure::from(refused).code
            })
        };
        let proven = match shown {
            Some(token) if required || (tokens.known() && Tokens::looks_like_one(&token)) => {
                Some(verify(&token)?)
            }
            // Where nobody needs a token, one of another kind is for somebody else.
            Some(_) => None,
            None => match tokens.in_cookie(headers).map(verify) {
                Some(Err(code)) if required => return Err(code),
                // Browsers send old cookies along.
                Some(proven) => proven.ok(),
                None => None,
            },
        };
        match proven {
            Some(token) => Ok(Some(Identity::proven(token, claimed, Hub::now()))),
            None if required => Err(Code::Unauthorized),
            None => Ok(claimed),
        }
    }
}

impl MessageHandler<LocalAdapter, Ours> for Client {
    fn call(&self, _socket: Arc<Transport>, value: Value, ack: Option<i64>) {
        self.hub.arrive(&self.connection, Item::Event(value, ack));
    }
}

impl DisconnectHandler<LocalAdapter, Ours> for Client {
    fn call_with_defer(&self, socket: Arc<Transport>, reason: DisconnectReason, defer: fn(Arc<Transport>)) {
        self.hub.arrive(&self.connection, Item::Gone(reason == DisconnectReason::ClientNSDisconnect));
        defer(socket);
    }
}

fn asked_in_auth(auth: Option<&Value>) -> Option<&'static Dialect> {
    #[derive(Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        dialect: Cow<'a, str>,
    }
    let auth: Auth<'_> = serde_json::from_str(auth?.as_str()?).ok()?;
    Dialect::named(&auth.dialect)
}

fn token_in_auth(auth: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Auth<'a> {
        #[serde(borrow)]
        token: Cow<'a, str>,
    }
    let auth: Auth<'_> = serde_json::from_str(auth).ok()?;
    Some(auth.token).filter(|token| !token.is_empty())
}

fn asked_in_query(query: &str) -> Option<&'static Dialect> {
    query.split('&').find_map(|pair| pair.strip_prefix("dialect=")).and_then(Dialect::named)
}

/// A client that says in its query who it is, or was, is one of a community.
fn shown_in_query(query: &str) -> Option<&'static Dialect> {
    let keys = ["userId=", "reconnecting="];
    query.split('&').any(|pair| keys.iter().any(|key| pair.starts_with(key))).then_some(&COMMUNITY)
}

/// The id of the connection that it had before.
fn sid_before(query: &str) -> Option<Sid> {
    let before = query.split('&').find_map(|pair| pair.strip_prefix("reconnecting="))?;
    before.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_is_asked_for_in_auth_or_in_the_query() {
        let auth =
            |text: &str| asked_in_auth(Some(&Value::Str(text.to_owned().into(), None))).map(|it| it.name);
        assert_eq!(auth(r#"{"dialect":"call","token":"x"}"#), Some("call"));
        for other in ["", "{}", r#"{"dialect":"klingon"}"#, r#"{"dialect":7}"#, "[", r#""call""#] {
            assert_eq!(auth(other), None, "{other}");
        }
        assert_eq!(asked_in_auth(None).map(|it| it.name), None);
        assert_eq!(asked_in_query("EIO=4&dialect=native&t=1").map(|it| it.name), Some("native"));
        assert_eq!(asked_in_query("EIO=4&xdialect=native").map(|it| it.name), None);
    }

    #[test]
    fn who_says_in_the_query_who_it_is_or_was_is_of_a_community() {
        for (query, of) in [
            ("EIO=4&userId=ada", Some("community")),
            ("EIO=4&userId=&reconnecting=", Some("community")),
            ("EIO=4&myuserId=ada", None),
            ("", None),
        ] {
            assert_eq!(shown_in_query(query).map(|it| it.name), of, "{query}");
        }
    }

    #[test]
    fn only_what_can_be_an_id_of_ours_is_looked_for() {
        let sid = Sid::default();
        assert_eq!(sid_before(&format!("EIO=4&reconnecting={sid}&userId=a")), Some(sid));
        for query in
            ["reconnecting=", "reconnecting=x", "reconnecting=%00", "", &format!("reconnecting={sid}A")]
        {
            assert_eq!(sid_before(query), None, "{query}");
        }
    }
}
