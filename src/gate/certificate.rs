//! The certificate of the TLS ports: read from its PEM files, watched, and changed under open connections.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::server::ClientHello;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use crate::config::Tls;
use crate::stamp::Stamp;

/// How often the files are looked at. A change is taken once two looks agree on it: until then it is being written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A chain is a few kilobytes; `/dev/zero` is not one.
const LONGEST: u64 = 1 << 20;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds nothing of the kind.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rustls_pki_types::pem::Error,
    },
    /// The key is not the certificate's, or of a kind that cannot sign.
    #[error("{} does not go with {}: {error}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        error: rustls::Error,
    },
    /// TLS itself cannot be set up: the system gives no random numbers.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

impl CertificateError {
    /// Which setting it is about; none: neither.
    #[must_use]
    pub fn setting(&self, settings: &Tls) -> Option<&'static str> {
        match self {
            CertificateError::Read { path, .. } | CertificateError::File { path, .. } => {
                Some(if *path == settings.certificate { "tls.certificate" } else { "tls.key" })
            }
            CertificateError::Pair { .. } => Some("tls.key"),
            CertificateError::Tls(_) => None,
        }
    }
}

/// The certificate of every TLS port, as of now.
#[derive(Debug)]
pub struct Certificate {
    current: RwLock<Arc<CertifiedKey>>,
    files: Mutex<Files>,
    renewed: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    /// As they were when they were read last, whatever came of it.
    read: Stamps,
    /// As they were at the last look.
    seen: Stamps,
}

type Stamps = [Option<Stamp>; 2];

impl Certificate {
    /// Reads the certificate of `settings`.
    ///
    /// # Errors
    /// A file cannot be read, holds nothing of the kind, or the two do not belong together.
    pub fn read(settings: &Tls) -> Result<Self, CertificateError> {
        let stamps = stamps(&settings.certificate, &settings.key);
        let current = read(&settings.certificate, &settings.key)?;
        Ok(Self {
            current: RwLock::new(Arc::new(current)),
            files: Mutex::new(Files {
                certificate: settings.certificate.clone(),
                key: settings.key.clone(),
                read: stamps,
                seen: stamps,
            }),
            renewed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Reads the files of `settings` now, and watches these from here on. Handshakes from now on get what was read; open
    /// connections go on.
    ///
    /// # Errors
    /// As `read`; then nothing has changed.
    pub fn reload(&self, settings: &Tls) -> Result<(), CertificateError> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&settings.certificate, &settings.key);
        self.change(read(&settings.certificate, &settings.key))?;
        *files = Files {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            read: stamps,
            seen: stamps,
        };
        Ok(())
    }

    /// How often a new certificate was taken, and how often one could not be.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 2] {
        [("ok", self.renewed.load(Relaxed)), ("failed", self.refused.load(Relaxed))]
    }

    /// Looks whether the files have changed and are at rest, and if so reads them. Nothing: there was nothing to do.
    fn look(&self) -> Option<Result<(), CertificateError>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: a change in between is found at the next look.
        let stamps = stamps(&files.certificate, &files.key);
        let at_rest = stamps == files.seen;
        files.seen = stamps;
        if stamps == files.read || !at_rest {
            return None;
        }
        files.read = stamps;
        Some(self.change(read(&files.certificate, &files.key)))
    }

    fn change(&self, new: Result<CertifiedKey, CertificateError>) -> Result<(), CertificateError> {
        match new {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                self.renewed.fetch_add(1, Relaxed);
                Ok(())
            }
            Err(error) => {
                self.refused.fetch_add(1, Relaxed);
                Err(error)
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Takes over what the files become, for as long as the certificate is used.
pub(super) async fn watch(certificate: Weak<Certificate>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(certificate) = certificate.upgrade() else { return };
        match certificate.look() {
            None => {}
            Some(Ok(())) => {
                tracing::info!("the certificate's files have changed; new connections get the new one")
            }
            Some(Err(error)) => tracing::error!(
                %error,
                "the certificate's files have changed and cannot be used: the old certificate stays. Put a PEM chain and \
                 the key that belongs to it there, readable by this daemon; they are taken by themselves"
            ),
        }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |error| CertificateError::File { path, error }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&content(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(file(certificate))?;
    let private = PrivateKeyDer::from_pem_slice(&content(key)?).map_err(file(key))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|error| {
        CertificateError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), error }
    })
}

fn content(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_end(&mut content))
        .map_err(|error| CertificateError::Read { path: path.to_owned(), error })?;
    Ok(content)
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(Stamp::of)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A chain and its key, as PEM.
    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn written(pair: &(String, String)) -> (TempDir, Tls) {
        let folder = tempfile::tempdir().unwrap();
        let tls = Tls {
            listen: Vec::new(),
            certificate: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        fs::write(&tls.certificate, &pair.0).unwrap();
        fs::write(&tls.key, &pair.1).unwrap();
        (folder, tls)
    }

    /// A change that shows: the times of files are as coarse as the system's tick.
    fn change(path: &Path, text: &str) {
        std::thread::sleep(Duration::from_millis(20));
        fs::write(path, text).unwrap();
    }

    fn in_use(certificate: &Certificate) -> Vec<u8> {
        certificate.current.read().unwrap().end_entity_cert().unwrap().to_vec()
    }

    fn leaf(pair: &(String, String)) -> Vec<u8> {
        CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn a_changed_pair_is_taken_once_it_is_at_rest() {
        let (old, new) = (made("old.example"), made("new.example"));
        let (_folder, tls) = written(&old);
        let certificate = Certificate::read(&tls).unwrap();
        assert!(certificate.look().is_none(), "nothing has changed");
        change(&tls.certificate, &new.0);
        assert!(certificate.look().is_none(), "it may still be written");
        change(&tls.key, &new.1);
        assert!(certificate.look().is_none(), "it may still be written");
        assert_eq!(in_use(&certificate), leaf(&old));
        certificate.look().unwrap().unwrap();
        assert_eq!(in_use(&certificate), leaf(&new));
        assert!(certificate.look().is_none());
        assert_eq!(certificate.counts(), [("ok", 1), ("failed", 0)]);
    }

    #[test]
    fn a_swapped_symbolic_link_is_a_change() {
        let (old, new) = (made("old.example"), made("new.example"));
        let (old_folder, _) = written(&old);
        let (new_folder, _) = written(&new);
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        symlink(old_folder.path(), &live).unwrap();
        let tls = Tls { listen: Vec::new(), certificate: live.join("cert.pem"), key: live.join("key.pem") };
        let certificate = Certificate::read(&tls).unwrap();
        fs::remove_file(&live).unwrap();
        symlink(new_folder.path(), &live).unwrap();
        assert!(certificate.look().is_none());
        certificate.look().unwrap().unwrap();
        assert_eq!(in_use(&certificate), leaf(&new));
    }

    #[test]
    fn a_bad_pair_keeps_the_old_one_and_is_complained_about_once() {
        let (old, new) = (made("old.example"), made("new.example"));
        let (_folder, tls) = written(&old);
        let certificate = Certificate::read(&tls).unwrap();
        let half = &new.0[..new.0.len() / 2];
        for (chain, key) in [
            ("", new.1.as_str()),
            ("garbage", &new.1),
            (half, &new.1),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &new.1),
            (&new.0, &old.1),
            (&new.0, "no key"),
            (&new.0, &new.0),
        ] {
            change(&tls.certificate, chain);
            change(&tls.key, key);
            assert!(certificate.look().is_none());
            let error = certificate.look().unwrap().unwrap_err().to_string();
            assert!(error.contains(".pem"), "which file? {error}");
            assert!(!error.contains("PRIVATE"), "{error}");
            assert!(certificate.look().is_none(), "said once: {error}");
            assert_eq!(in_use(&certificate), leaf(&old));
        }
        fs::remove_file(&tls.key).unwrap();
        assert!(certificate.look().is_none());
        assert!(certificate.look().unwrap().unwrap_err().to_string().contains("key.pem"));
        assert_eq!(certificate.counts(), [("ok", 0), ("failed", 8)]);
        change(&tls.certificate, &new.0);
        change(&tls.key, &new.1);
        assert!(certificate.look().is_none());
        certificate.look().unwrap().unwrap();
        assert_eq!(in_use(&certificate), leaf(&new));
    }

    #[test]
    fn on_demand_it_is_read_at_once_from_wherever_it_now_is() {
        let (old, new) = (made("old.example"), made("new.example"));
        let (_old_folder, old_files) = written(&old);
        let (_new_folder, new_files) = written(&new);
        let certificate = Certificate::read(&old_files).unwrap();
        let wrong = Tls { key: old_files.key.clone(), ..new_files.clone() };
        assert!(certificate.reload(&wrong).is_err());
        assert_eq!(in_use(&certificate), leaf(&old));
        certificate.reload(&new_files).unwrap();
        assert_eq!(in_use(&certificate), leaf(&new));
        assert!(certificate.look().is_none(), "the new files are watched now");
    }
}
