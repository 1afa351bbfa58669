//! The namespace `/admin`: the operator sees the house's figures every ten seconds, ends rooms, puts members out, drains.

use std::borrow::Cow;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::ConnectHandler;
use socketioxide::handler::FromMessageParts;
use socketioxide::handler::MessageHandler;
use socketioxide::handler::Value;

use super::connection::Connection;
use super::connection::Transport;
use super::door::Admitted;
use super::door::Ours;
use super::door::refusal;
use super::error::Code;
use super::error::Failure;
use super::hub::Hub;
use super::operator::RelayFigures;
use super::stats::Drop;
use crate::rooms::PeerId;
use crate::rooms::RoomId;
use crate::rooms::Target;

/// How often the figures are told.
const EVERY: Duration = Duration::from_secs(10);
/// How much of an unknown event's name is said back, in characters.
const LONGEST_NAME: usize = 64;

/// Whether a token, sent from an address, is the admin's.
pub type Admits = dyn Fn(&[u8], IpAddr) -> bool + Send + Sync;

/// What the operator's namespace needs of the daemon.
#[derive(Clone)]
pub struct Operator {
    /// Knows the admin token.
    pub admits: Arc<Admits>,
    /// Another number after each change of the admin token.
    pub era: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The relay as a whole.
    pub relay: Arc<dyn Fn() -> RelayFigures + Send + Sync>,
    /// The daemon shall end, calls first.
    pub drain: Arc<dyn Fn() + Send + Sync>,
}

impl Operator {
    /// Whether the token that let this socket in is still the admin's.
    fn still_admits(&self, socket: &Transport) -> bool {
        socket.extensions.get::<Era>() == Some(Era((self.era)()))
    }
}

/// The namespace, and who is in it.
#[derive(Clone)]
pub(super) struct Admin {
    hub: Arc<Hub>,
    operator: Operator,
    /// Gone ones are found out when they are next told something.
    present: Arc<Mutex<Vec<Weak<Transport>>>>,
}

/// By which admin token a socket was let in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Era(u64);

impl Admin {
    /// Starts the one timer of all the namespace's clients.
    pub(super) fn new(hub: &Arc<Hub>, operator: Operator) -> Admin {
        let admin = Admin { hub: Arc::clone(hub), operator, present: Arc::default() };
        let task =
            tell_regularly(Arc::downgrade(hub), admin.operator.clone(), Arc::downgrade(&admin.present));
        tokio::spawn(task);
        admin
    }
}

impl ConnectHandler<LocalAdapter, Ours> for Admin {
    fn call(&self, socket: Arc<Transport>, _auth: Option<Value>) {
        lock(&self.present).push(Arc::downgrade(&socket));
        let (hub, operator) = (Arc::clone(&self.hub), self.operator.clone());
        drop(tokio::task::spawn_blocking(move || tell(&hub, &operator, &[socket])));
    }

    fn call_middleware<'a>(&'a self, socket: Arc<Transport>, auth: &'a Option<Value>) -> Admitted<'a> {
        let from = Connection::address(&socket).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let token = token_in(auth.as_ref());
        // Before it is asked whether the token is right: it may change meanwhile.
        let era = Era((self.operator.era)());
        match token.as_deref() {
            Some(token) if (self.operator.admits)(token.as_bytes(), from) => {
                socket.extensions.insert(era);
                socket.on_fallback(self.clone());
                Box::pin(std::future::ready(Ok(())))
            }
            _ => {
                self.hub.counters.failed(Code::Unauthorized);
                refusal(&socket, Code::Unauthorized)
            }
        }
    }
}

impl MessageHandler<LocalAdapter, Ours> for Admin {
    fn call(&self, socket: Arc<Transport>, value: Value, ack: Option<i64>) {
        // Not in place: what it does may have to be written first. And in any order: it is one operator.
        let admin = self.clone();
        tokio::spawn(async move { admin.serve(&socket, &value, ack).await });
    }
}

impl Admin {
    async fn serve(&self, socket: &Arc<Transport>, value: &Value, ack: Option<i64>) {
        let text = value.as_str().map_or("", |text| text);
        let current = self.operator.still_admits(socket);
        let (command, done) = if !current {
            (
                "".into(),
                Err(Failure::new(
                    Code::Unauthorized,
                    "the admin token has changed: connect with the new one",
                )),
            )
        } else if text.len() > self.hub.message_bytes {
            ("".into(), Err(Failure::new(Code::TooLarge, "too long")))
        } else {
            self.carry_out(text).await
        };
        let unsent = match done {
            Ok(body) => ack.is_some() && !answer(socket, ack, &body),
            Err(failure) => {
                self.hub.counters.failed(failure.code);
                let error = json!({ "code": failure.code.name(), "message": failure.message });
                if ack.is_some() {
                    !answer(socket, ack, &json!({ "ok": false, "error": error }))
                } else {
                    let mut error = error;
                    error["command"] = command.into();
                    socket.emit("error", &error).is_err()
                }
            }
        };
        if unsent {
            self.hub.counters.dropped(Drop::Closed, 1);
        }
        if !current {
            put_out(socket);
        }
    }
}

/// What a command is about, in all its spellings.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct About<'a> {
    #[serde(borrow, alias = "room", alias = "id")]
    room_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    peer_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(default)]
    ban: bool,
}

impl Admin {
    /// One event of an operator: its name, and the answer.
    async fn carry_out(&self, text: &str) -> (Cow<'static, str>, Result<serde_json::Value, Failure>) {
        let Ok(parts) = serde_json::from_str::<Vec<&RawValue>>(text) else {
            return ("".into(), Err(Failure::bad("that is no event")));
        };
        let name = parts.first().map_or("", |name| name.get());
        match name {
            r#""deleteRoom""# => ("deleteRoom".into(), self.delete(&parts[1..]).await),
            r#""kick""# => ("kick".into(), self.kick(&parts[1..]).await),
            r#""drain""# => {
                (self.operator.drain)();
                ("drain".into(), Ok(json!({ "ok": true })))
            }
            _ => {
                let said: String = serde_json::from_str(name).unwrap_or_default();
                let command = said.chars().take(LONGEST_NAME).collect::<String>();
                (command.into(), Err(Failure::new(Code::UnknownEvent, "there is no such event")))
            }
        }
    }

    async fn delete(&self, arguments: &[&RawValue]) -> Result<serde_json::Value, Failure> {
        let about = about(arguments)?;
        self.hub.close(&room(&about)?).await?;
        Ok(json!({ "ok": true }))
    }

    async fn kick(&self, arguments: &[&RawValue]) -> Result<serde_json::Value, Failure> {
        let about = about(arguments)?;
        let target = match (about.peer_id.as_deref(), about.user_id.as_deref()) {
            (Some(peer), None) => {
                let peer = PeerId::parse(peer);
                Target::Peer(peer.ok_or_else(|| Failure::new(Code::NoSuchPeer, "that is no peer's id"))?)
            }
            (None, Some(user)) if !user.is_empty() && user.len() <= super::session::LABEL => {
                Target::User(user)
            }
            _ => return Err(Failure::bad("one of peerId and userId, please")),
        };
        let kicked = self.hub.kick(&room(&about)?, target, about.ban).await?;
        Ok(json!({ "ok": true, "kicked": kicked }))
    }
}

/// An object, or a bare string: a room's id.
fn about<'a>(arguments: &[&'a RawValue]) -> Result<About<'a>, Failure> {
    let Some(first) = arguments.first() else { return Ok(About::default()) };
    let text = first.get();
    let read = if text.starts_with('"') {
        serde_json::from_str(text).map(|id| About { room_id: Some(id), ..About::default() })
    } else {
        serde_json::from_str(text)
    };
    read.map_err(|_| {
        Failure::bad(
            "a room's id, please, or an object: roomId, peerId and userId are strings, ban is a boolean",
        )
    })
}

fn room(about: &About<'_>) -> Result<RoomId, Failure> {
    let id = about.room_id.as_deref().ok_or_else(|| Failure::bad("a room's id is missing: roomId"))?;
    RoomId::parse(id).ok_or_else(|| Failure::new(Code::NoSuchRoom, "there is no such room"))
}

fn token_in(auth: Option<&Value>) -> Option<String> {
    #[derive(Deserialize)]
    struct Auth {
        token: String,
    }
    serde_json::from_str::<Auth>(auth?.as_str()?).ok().map(|auth| auth.token)
}

fn answer(socket: &Arc<Transport>, ack: Option<i64>, body: &impl Serialize) -> bool {
    let Ok(sender) =
        AckSender::<LocalAdapter>::from_message_parts(socket, &mut Value::Bytes(Bytes::new()), &ack);
    sender.send(body).is_ok()
}

/// Computes the figures once and tells them to all of these. It walks through all rooms: not in place.
fn tell(hub: &Hub, operator: &Operator, sockets: &[Arc<Transport>]) {
    let Ok(figures) = serde_json::value::to_raw_value(&hub.statistics(&(operator.relay)())) else { return };
    // Who has not read the last ones does not need these.
    let unread = sockets.iter().filter(|socket| socket.emit("roomStats", &figures).is_err()).count();
    hub.counters.dropped(Drop::SlowReader, unread as u64);
}

async fn tell_regularly(hub: Weak<Hub>, operator: Operator, present: Weak<Mutex<Vec<Weak<Transport>>>>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (Some(hub), Some(present)) = (hub.upgrade(), present.upgrade()) else { return };
        let sockets: Vec<_> = {
            let mut present = lock(&present);
            present.retain(|socket| socket.upgrade().is_some_and(|socket| socket.connected()));
            present.iter().filter_map(Weak::upgrade).collect()
        };
        let (sockets, stale): (Vec<_>, Vec<_>) =
            sockets.into_iter().partition(|socket| operator.still_admits(socket));
        stale.iter().for_each(put_out);
        if !sockets.is_empty() {
            let operator = operator.clone();
            // If it panics, that is told elsewhere; the next ones are due all the same.
            let _ = tokio::task::spawn_blocking(move || tell(&hub, &operator, &sockets)).await;
        }
    }
}

fn put_out(socket: &Arc<Transport>) {
    tracing::info!("an operator was put out: the admin token has changed");
    // If it is gone already, so much the better.
    if Arc::clone(socket).disconnect().is_err() {
        tracing::debug!("the operator was gone already");
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
