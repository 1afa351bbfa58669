//! TLS for the ports that have it: a certificate in, a rustls acceptor out.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;
use super::certificate::CertificateError;

/// What a client that says what it will speak (ALPN, RFC 7301) can choose from, what we like best in front. TURN's name is
/// RFC 7443's: no browser names it for a page, and coturn's client names http/1.1 beside it. Who names only others is refused
/// in the handshake.
const PROTOCOLS: [&[u8]; 3] = [TURN, b"h2", b"http/1.1"];

/// TURN's name in ALPN (RFC 7443, section 2).
pub(super) const TURN: &[u8] = b"stun.turn";

/// An acceptor that shows `certificate`, whatever that is at the time, and speaks TLS 1.2 and 1.3.
///
/// # Errors
/// The system gives no random numbers.
pub(super) fn acceptor(certificate: Arc<Certificate>) -> Result<TlsAcceptor, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(CertificateError::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Who comes back need not do the whole handshake again; and we need not remember who was here.
    config.ticketer = ring::Ticketer::new().map_err(CertificateError::Tls)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
