//! Where socketioxide hands over: connections, their events in order, and their end.
//!
//! Its own closures run as tasks of their own, in any order, and the connect handler runs after the client has been told
//! that it is connected. So the handlers are written by hand: they are called in place, and those for events are there
//! before the client is told anything. Its socket ids are the keys of the transport sessions: they never leave.

use std::borrow::Cow;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;

use serde::Deserialize;
use socketioxide::adapter::LocalAdapter;
use socketioxide::handler::ConnectHandler;
use socketioxide::handler::DisconnectHandler;
use socketioxide::handler::MessageHandler;
use socketioxide::handler::Value;
use socketioxide::socket::DisconnectReason;

use super::connection::Connection;
use super::connection::Item;
use super::connection::Transport;
use super::dialect::Dialect;
use super::dialect::NATIVE;
use super::hub::Hub;
use super::identity::Identity;

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

type Admitted<'a> = Pin<Box<dyn Future<Output = Result<(), Box<dyn Display + Send>>> + Send + 'a>>;

impl ConnectHandler<LocalAdapter, Ours> for Door {
    /// The client has been told that it is connected.
    fn call(&self, socket: Arc<Transport>, _auth: Option<Value>) {
        if let Some(connection) = socket.extensions.get::<Arc<Connection>>() {
            self.0.open(&connection);
        }
    }

    /// Before the client is told.
    fn call_middleware<'a>(&'a self, socket: Arc<Transport>, auth: &'a Option<Value>) -> Admitted<'a> {
        let dialect = asked_in_auth(auth.as_ref())
            .or_else(|| asked_in_query(socket.req_parts().uri.query().unwrap_or_default()))
            .unwrap_or(&NATIVE);
        let said = auth.as_ref().and_then(Value::as_str);
        let query = socket.req_parts().uri.query().unwrap_or_default();
        let identity = Identity::claimed(said.map(|text| &**text), query);
        let user = identity.as_ref().filter(|it| it.proven).and_then(|it| it.user.as_ref());
        let accounts = self.0.bank.accounts(Connection::address(&socket), user, Hub::now().at);
        let number = self.0.number();
        let connection = Arc::new(Connection::new(&self.0, number, &socket, dialect, identity, accounts));
        socket.extensions.insert(connection.clone());
        socket.on_fallback(Client { hub: self.0.clone(), connection: connection.clone() });
        socket.on_disconnect(Client { hub: self.0.clone(), connection });
        Box::pin(std::future::ready(Ok(())))
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

fn asked_in_query(query: &str) -> Option<&'static Dialect> {
    query.split('&').find_map(|pair| pair.strip_prefix("dialect=")).and_then(Dialect::named)
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
}
