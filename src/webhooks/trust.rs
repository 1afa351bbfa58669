//! Whose certificates are taken for a receiver's own.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsConnector;

use super::unusable::Unusable;

/// TLS that trusts the system's certificates and those in the file.
///
/// # Errors
/// The file holds none, or one that is broken, or there are none at all.
pub(super) fn connector(ca: Option<&Path>) -> Result<TlsConnector, Unusable> {
    let wrong = |what: String| Unusable { key: "webhooks.ca", what };
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca {
        let told = |what: String| {
            wrong(format!("{}: {what}; put the certificate of an authority there, as PEM", path.display()))
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| told(error.to_string()))?;
        let before = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| told(error.to_string()))?;
            roots.add(certificate).map_err(|error| told(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(told("no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() {
        let why = system.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(wrong(format!(
            "this system has no root certificates{why}; install ca-certificates or set this key"
        )));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
