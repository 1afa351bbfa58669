//! The way of one message to a receiver and of its answer back: HTTP/1.1 over TCP or TLS. Redirects are answers like others.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use http::Uri;
use http::header;
use http::uri::Scheme;
use http_body_util::BodyExt;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::sign::Signer;
use crate::config::masked_url;

/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 16_384;

/// How long a connection is kept for the next message, and how long it is used at all.
const REST: Duration = Duration::from_secs(15);
const LIFE: Duration = Duration::from_secs(300);

/// Connections of a receiver that are kept.
const RESTING: usize = 16;

/// What the receiver said.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP's.
    pub(super) status: u16,
    /// When to ask again, if it says so in seconds.
    pub(super) retry_after: Option<Duration>,
    /// Empty if it was too long.
    pub(super) body: Bytes,
}

/// Why there is no answer, for the log.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Cow<'static, str>);

/// An answer to come.
pub(super) type Reply<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send + 'a>>;

/// Brings messages to one receiver.
pub(super) trait Carrier: Send + Sync + 'static {
    /// Sends a message once. `kind`: the name of the event.
    fn post<'a>(&'a self, kind: &'static str, body: &'a Bytes) -> Reply<'a>;

    /// Who it is, for the log: without its path, which may be a secret.
    fn name(&self) -> &str;
}

/// Over the network.
pub(super) struct Network {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    signer: Arc<Signer>,
    patience: Duration,
    resting: Mutex<Vec<(Instant, SendRequest<Full<Bytes>>)>>,
}

impl Network {
    /// `tls`: what `https` needs.
    ///
    /// # Errors
    /// The URL has no host, or `https` a host that no certificate can have.
    pub(super) fn new(
        url: &Uri,
        tls: Option<&TlsConnector>,
        signer: Arc<Signer>,
        patience: Duration,
    ) -> Result<Network, String> {
        let wrong = || format!("{} cannot be reached", masked_url(&url.to_string()));
        let bare = url.host().ok_or_else(wrong)?;
        let host = bare.trim_start_matches('[').trim_end_matches(']').to_owned();
        let secure = url.scheme() == Some(&Scheme::HTTPS);
        let tls = match tls {
            Some(tls) if secure => {
                Some((tls.clone(), ServerName::try_from(host.clone()).map_err(|_| wrong())?))
            }
            None if secure => return Err(wrong()),
            _ => None,
        };
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Network { url: url.clone(), host, port, tls, signer, patience, resting: Mutex::default() })
    }

    async fn exchange(&self, kind: &'static str, body: &Bytes) -> Result<Answer, Failure> {
        if let Some(line) = self.rested() {
            // The receiver may have closed it meanwhile: that says nothing about the message.
            if let Ok(answer) = self.send(line, kind, body).await {
                return Ok(answer);
            }
        }
        let line = self.open().await?;
        self.send(line, kind, body).await
    }

    fn rested(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, line)) = resting.pop() {
            if since.elapsed() < REST && line.is_ready() {
                return Some(line);
            }
        }
        None
    }

    fn rest(&self, line: SendRequest<Full<Bytes>>) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.len() < RESTING && !line.is_closed() {
            resting.push((Instant::now(), line));
        }
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let failed = |error: io::Error| Failure(format!("no connection: {error}").into());
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            None => speak(socket).await,
            Some((tls, name)) => {
                let stream = tls.connect(name.clone(), socket).await;
                speak(stream.map_err(|error| Failure(format!("no TLS: {error}").into()))?).await
            }
        }
    }

    async fn send(
        &self,
        mut line: SendRequest<Full<Bytes>>,
        kind: &'static str,
        body: &Bytes,
    ) -> Result<Answer, Failure> {
        let path = self.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let host = self.url.authority().map_or("", http::uri::Authority::as_str);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = Request::post(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("callgate/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header("callgate-event", kind)
            .header("callgate-signature", self.signer.header(now.as_secs(), body))
            .body(Full::new(body.clone()))
            .map_err(|error| Failure(error.to_string().into()))?;
        let answer = line.send_request(request).await.map_err(|error| Failure(error.to_string().into()))?;
        let (head, body) = answer.into_parts();
        let (body, whole) = match Limited::new(body, LONGEST_ANSWER).collect().await {
            Ok(body) => (body.to_bytes(), true),
            Err(_) => (Bytes::new(), false),
        };
        if whole {
            self.rest(line);
        }
        Ok(Answer { status: head.status.as_u16(), retry_after: retry_after(&head.headers), body })
    }
}

impl Carrier for Network {
    fn post<'a>(&'a self, kind: &'static str, body: &'a Bytes) -> Reply<'a> {
        Box::pin(async move {
            match timeout(self.patience, self.exchange(kind, body)).await {
                Ok(answer) => answer,
                Err(_) => Err(Failure("no answer in time".into())),
            }
        })
    }

    fn name(&self) -> &str {
        &self.host
    }
}

/// Begins HTTP on a stream, which lives on by itself for as long as it is of use.
async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = http1::Builder::new().max_buf_size(LONGEST_ANSWER).handshake(TokioIo::new(stream)).await;
    let (line, connection) = begun.map_err(|error| Failure(error.to_string().into()))?;
    tokio::spawn(timeout(LIFE, connection));
    Ok(line)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER).map(HeaderValue::to_str)?.ok()?;
    text.parse().ok().map(Duration::from_secs)
}
