//! What a handler is handed of a request, once the asker may have it and it can be read; otherwise the answer is made here, and the
//! handler is not called. Each is looked at in its turn among a handler's arguments: who asks comes first.

use std::net::IpAddr;
use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::extract::FromRequestParts;
use axum::extract::Path;
use axum::extract::Query;
use axum::extract::rejection::ExtensionRejection;
use axum::http::request;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::de::DeserializeOwned;

use super::Parts;
use super::access::Caller;
use super::access::not_trusted;
use super::problem::bad;
use super::refusal::failed;
use crate::rooms::Refusal;
use crate::rooms::RoomId;

/// What a query that cannot be read is told.
pub(super) const BAD_QUERY: &str = "the query cannot be read";

/// Where it comes from.
async fn source(head: &mut request::Parts, parts: &Parts) -> Result<IpAddr, ExtensionRejection> {
    let ConnectInfo(peer) = ConnectInfo::<SocketAddr>::from_request_parts(head, parts).await?;
    Ok(peer.ip())
}

impl FromRequestParts<Parts> for Caller {
    type Rejection = Response;

    async fn from_request_parts(head: &mut request::Parts, parts: &Parts) -> Result<Caller, Response> {
        let source = source(head, parts).await.map_err(IntoResponse::into_response)?;
        parts.access.caller(source, &head.headers).map_err(not_trusted)
    }
}

/// The operator or a back end asks.
pub(super) struct Trusted;

impl FromRequestParts<Parts> for Trusted {
    type Rejection = Response;

    async fn from_request_parts(head: &mut request::Parts, parts: &Parts) -> Result<Trusted, Response> {
        let source = source(head, parts).await.map_err(IntoResponse::into_response)?;
        parts.access.trusted(source, &head.headers).map(|()| Trusted).map_err(not_trusted)
    }
}

/// What the query says.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Parts> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(head: &mut request::Parts, _: &Parts) -> Result<Asked<T>, Response> {
        Query::try_from_uri(&head.uri).map(|Query(asked)| Asked(asked)).map_err(|_| bad(BAD_QUERY))
    }
}

/// The room of the path: a room of that id there may be.
pub(super) struct OfRoom(pub(super) RoomId);

impl FromRequestParts<Parts> for OfRoom {
    type Rejection = Response;

    async fn from_request_parts(head: &mut request::Parts, parts: &Parts) -> Result<OfRoom, Response> {
        let id = Path::<String>::from_request_parts(head, parts).await;
        let Path(id) = id.map_err(IntoResponse::into_response)?;
        RoomId::parse(&id).map(OfRoom).ok_or_else(|| failed(Refusal::NoSuchRoom))
    }
}
