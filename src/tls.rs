//! TLS for those who call: from certificate files to what rustls serves with, and again whenever the
//! files change.
//!
//! Knows nothing of connections.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are looked at. They are small, and new ones are written once in weeks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Files of PEM, which the rules file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of whom a client's certificate has to be; none is asked for if there is none.
    pub client_ca: Option<PathBuf>,
}

/// What is served with, as of now.
pub type Current = watch::Receiver<Arc<ServerConfig>>;

/// What is wrong, by the key of the rules file that names the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongFile {
    /// The key.
    pub key: &'static str,
    /// What is wrong with the file, to be said after the key.
    pub message: String,
}

impl fmt::Display for WrongFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" {}", self.key, self.message)
    }
}

/// What is in the files: the key is a secret, so that there is no `Debug`.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What is in the files now, and a task that keeps to them until `stop`.
///
/// # Errors
/// If nothing can be served with them.
pub fn keep_current(
    files: Files,
    stop: CancellationToken,
) -> Result<(Current, impl Future<Output = ()> + Send + 'static), WrongFile> {
    let contents = files.read()?;
    let (sender, current) = watch::channel(contents.served_with()?);
    let settled = Arc::new(Ok(contents));
    let last = Arc::clone(&settled);
    Ok((current, follow(Looks { files, settled, last }, sender, stop)))
}

async fn follow(
    mut looks: Looks,
    sender: watch::Sender<Arc<ServerConfig>>,
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let look = tokio::task::spawn_blocking(move || {
            let news = looks.look();
            (looks, news)
        });
        let news;
        (looks, news) = match look.await {
            Ok(looked) => looked,
            // The runtime ends.
            Err(_) => return,
        };
        match news {
            None => {}
            Some(Ok(config)) => {
                sender.send_replace(config);
                info!(cert_file = %looks.files.cert.display(), "the certificate is read anew");
            }
            Some(Err(wrong)) => warn!(
                reason = %wrong,
                "the new certificate cannot be used; the one before goes on until that is mended"
            ),
        }
    }
}

/// Looks at the files again and again.
struct Looks {
    files: Files,
    /// What was found last.
    last: Arc<Result<Contents, WrongFile>>,
    /// What was found twice in a row, and so is not just being written, one file after the other.
    settled: Arc<Result<Contents, WrongFile>>,
}

impl Looks {
    /// What is to be served with from now on, or why it cannot be: each is said once.
    fn look(&mut self) -> Option<Result<Arc<ServerConfig>, WrongFile>> {
        let found = Arc::new(self.files.read());
        let before = std::mem::replace(&mut self.last, Arc::clone(&found));
        if found != before || found == self.settled {
            return None;
        }
        self.settled = found;
        let read = self.settled.as_ref().as_ref().map_err(WrongFile::clone);
        Some(read.and_then(Contents::served_with))
    }
}

impl Files {
    /// What is wrong with which of them, so that nothing can be served with them; nothing if something
    /// can.
    #[must_use]
    pub fn check(&self) -> Vec<WrongFile> {
        let each = [
            ("cert_file", Some(&self.cert)),
            ("key_file", Some(&self.key)),
            ("client_ca_file", self.client_ca.as_ref()),
        ];
        let wrong = each.into_iter().filter_map(|(key, path)| {
            let holds = |pem: Vec<u8>| match key {
                "key_file" => private_key(&pem).map(drop),
                _ => certificates(key, &pem).map(drop),
            };
            read(key, path?).and_then(holds).err()
        });
        let wrong: Vec<WrongFile> = wrong.collect();
        if !wrong.is_empty() {
            return wrong;
        }
        let together = self.read().and_then(|contents| contents.served_with());
        together.err().into_iter().collect()
    }

    fn read(&self) -> Result<Contents, WrongFile> {
        Ok(Contents {
            cert: read("cert_file", &self.cert)?,
            key: read("key_file", &self.key)?,
            client_ca: match &self.client_ca {
                Some(path) => Some(read("client_ca_file", path)?),
                None => None,
            },
        })
    }
}

impl Contents {
    /// What they are served with.
    fn served_with(&self) -> Result<Arc<ServerConfig>, WrongFile> {
        let chain = certificates("cert_file", &self.cert)?;
        let key = private_key(&self.key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("cert_file", &error))?;
        let builder = match &self.client_ca {
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates("client_ca_file", pem)? {
                    roots.add(authority).map_err(|error| unusable("client_ca_file", &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| unusable("client_ca_file", &error))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong("key_file", "is not the key of the certificate in \"cert_file\"".into())
            }
            error => unusable("cert_file", &error),
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, WrongFile> {
    std::fs::read(path).map_err(|error| wrong(key, format!("cannot be read: {error}")))
}

fn private_key(contents: &[u8]) -> Result<PrivateKeyDer<'static>, WrongFile> {
    PrivateKeyDer::from_pem_slice(contents).map_err(|_| {
        let message = "holds no private key as PEM, or one with a passphrase; it needs one without";
        wrong("key_file", message.into())
    })
}

/// The certificates in a file, one at least.
fn certificates(
    key: &'static str,
    contents: &[u8],
) -> Result<Vec<CertificateDer<'static>>, WrongFile> {
    let found = CertificateDer::pem_slice_iter(contents).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong(key, "holds no certificate as PEM".into())),
    }
}

fn unusable(key: &'static str, error: &dyn std::error::Error) -> WrongFile {
    wrong(key, format!("cannot be used: {error}"))
}

fn wrong(key: &'static str, message: String) -> WrongFile {
    WrongFile { key, message }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Folder {
            let folder = Folder(tempfile::tempdir().unwrap());
            folder.renew("localhost");
            folder
        }

        fn write(&self, name: &str, contents: &str) {
            fs::write(self.0.path().join(name), contents).unwrap();
        }

        fn renew(&self, host: &str) {
            let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
            self.write("cert", &made.cert.pem());
            self.write("key", &made.signing_key.serialize_pem());
        }

        fn files(&self) -> Files {
            let path = |name| self.0.path().join(name);
            Files { cert: path("cert"), key: path("key"), client_ca: None }
        }
    }

    #[test]
    fn what_cannot_be_served_with_is_said_of_the_file_that_it_is_in() {
        let folder = Folder::new();
        let files = folder.files();
        assert_eq!(files.check(), []);
        let with_ca = Files { client_ca: Some(files.cert.clone()), ..files.clone() };
        assert_eq!(with_ca.check(), []);

        let is_wrong = |files: &Files, key: &str, words: &str| {
            let wrong = files.check().remove(0);
            assert_eq!(wrong.key, key, "{wrong:?}");
            assert!(wrong.message.contains(words), "{wrong:?}");
        };
        let missing = Files { key: "/nowhere/key".into(), ..files.clone() };
        is_wrong(&missing, "key_file", "cannot be read: No such file");
        let swapped = Files { cert: files.key.clone(), key: files.cert.clone(), client_ca: None };
        is_wrong(&swapped, "cert_file", "holds no certificate");
        let twice = Files { key: files.cert.clone(), ..files.clone() };
        is_wrong(&twice, "key_file", "holds no private key");
        let ca = Files { client_ca: Some(files.key.clone()), ..files.clone() };
        is_wrong(&ca, "client_ca_file", "holds no certificate");
        let other = Folder::new();
        let mixed = Files { key: other.files().key, ..files };
        is_wrong(&mixed, "key_file", "is not the key of");
        // All of them at once.
        let cert = folder.0.path().join("none");
        let all = Files { cert: cert.clone(), key: cert, client_ca: Some(mixed.key) };
        let keys: Vec<_> = all.check().into_iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["cert_file", "key_file", "client_ca_file"]);
    }

    #[test]
    fn new_files_are_served_with_once_they_are_whole_and_broken_ones_are_said_once() {
        let folder = Folder::new();
        let settled = Arc::new(folder.files().read());
        let mut looks = Looks { files: folder.files(), last: Arc::clone(&settled), settled };
        let mut look = || looks.look().map(|news| news.map(drop).map_err(|wrong| wrong.key));
        assert_eq!([look(), look()], [None, None]);

        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        folder.write("cert", &other.cert.pem());
        assert_eq!(look(), None, "the key may be about to follow");
        folder.write("key", &other.signing_key.serialize_pem());
        assert_eq!([look(), look(), look()], [None, Some(Ok(())), None]);

        folder.write("cert", "-----BEGIN CERT");
        assert_eq!([look(), look(), look()], [None, Some(Err("cert_file")), None]);
        fs::remove_file(folder.0.path().join("key")).unwrap();
        assert_eq!([look(), look(), look()], [None, Some(Err("key_file")), None]);
        folder.renew("localhost");
        assert_eq!([look(), look(), look()], [None, Some(Ok(())), None]);
    }
}
