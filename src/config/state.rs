//! What the daemon keeps between runs: secrets it made for itself, each a file only its own user (and group) can read.

use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use ring::rand::SystemRandom;
use secrecy::SecretString;

use super::Environment;

/// Random bytes of a generated secret.
const SECRET_BYTES: usize = 32;

/// The longest file that can be a secret.
const LONGEST: u64 = 4096;

/// The most that is read of what a run has left, in bytes.
pub const LONGEST_LEFT: usize = 64 << 20;

/// The state folder, or the want of one.
#[derive(Clone, Debug)]
pub struct State {
    folder: Option<PathBuf>,
}

/// Where a secret lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kept {
    /// In this file, from before or from now on.
    InFile(PathBuf),
    /// In memory only, for this reason: the next run has another one.
    InMemory(String),
}

impl State {
    /// The file in the state folder that rooms are kept in.
    pub const STORE: &str = "callgate.db";

    /// `$STATE_DIRECTORY` (systemd may name several, by colons: the first), else `$XDG_STATE_HOME/callgate`, else
    /// `~/.local/state/callgate`. Nothing is made before something is to be kept.
    #[must_use]
    pub fn find(environment: &Environment) -> Self {
        let set = |name: &str| environment.get(name).filter(|text| !text.is_empty()).map(String::as_str);
        let folder = set("STATE_DIRECTORY")
            .and_then(|folders| folders.split(':').next())
            .map(PathBuf::from)
            .or_else(|| set("XDG_STATE_HOME").map(|home| PathBuf::from(home).join("callgate")))
            .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/state/callgate")));
        Self { folder }
    }

    /// The folder, if one is known.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The secret kept under this name, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or cannot be a secret.
    pub fn kept(&self, name: &str) -> io::Result<Option<SecretString>> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(name)) else { return Ok(None) };
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(error)),
        };
        let mut text = String::new();
        file.take(LONGEST + 1).read_to_string(&mut text).map_err(told)?;
        let what = match text.trim() {
            _ if text.len() as u64 > LONGEST => "is too long to be a secret",
            secret if secret.len() >= 16 => return Ok(Some(SecretString::from(secret))),
            _ => "is too short to be a secret; remove it to have a new one made",
        };
        Err(io::Error::other(format!("{} {what}", path.display())))
    }

    /// The secret kept under this name, made if there is none yet.
    ///
    /// # Errors
    /// The system has no randomness to give, or holds a file of that name that cannot be a secret: it is not overwritten.
    pub fn secret(&self, name: &str) -> io::Result<(SecretString, Kept)> {
        let Some(folder) = &self.folder else {
            let why = "no state folder is known (set STATE_DIRECTORY, XDG_STATE_HOME or HOME)";
            return Ok((generate()?, Kept::InMemory(why.to_owned())));
        };
        let path = folder.join(name);
        if let Some(secret) = self.kept(name)? {
            return Ok((secret, Kept::InFile(path)));
        }
        let secret = random()?;
        match self.keep(&path, &secret) {
            Ok(()) => Ok((SecretString::from(secret), Kept::InFile(path))),
            // Another process was faster: its secret is the secret.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.kept(name)? {
                Some(secret) => Ok((secret, Kept::InFile(path))),
                None => Err(error),
            },
            Err(error) => {
                Ok((SecretString::from(secret), Kept::InMemory(format!("{}: {error}", path.display()))))
            }
        }
    }

    /// Leaves a text for the next run, in place of an earlier one.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn leave(&self, name: &str, text: &str) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        let path = folder.join(name);
        let aside = path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&aside, &path))
    }

    /// What the last run has left under this name; it is gone from there then.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn take(&self, name: &str) -> io::Result<Option<String>> {
        let Some(path) = self.folder.as_ref().map(|folder| folder.join(name)) else { return Ok(None) };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(LONGEST_LEFT as u64).read_to_end(&mut bytes)?;
        fs::remove_file(&path)?;
        // Whatever is no text of ours is its reader's to pass over.
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Written aside and linked into place, so that nobody ever reads half a secret.
    fn keep(&self, path: &PathBuf, secret: &str) -> io::Result<()> {
        if let Some(folder) = &self.folder {
            DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
        }
        let aside = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&aside)?;
        let written = file.write_all(secret.as_bytes()).and_then(|()| file.write_all(b"\n"));
        let kept = written.and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&aside, path));
        fs::remove_file(&aside)?;
        kept
    }
}

fn generate() -> io::Result<SecretString> {
    random().map(SecretString::from)
}

fn random() -> io::Result<String> {
    let mut bytes = [0u8; SECRET_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    fn at(folder: &std::path::Path) -> State {
        State::find(&Environment::from([("STATE_DIRECTORY".to_owned(), folder.display().to_string())]))
    }

    #[test]
    fn a_secret_is_made_once_and_readable_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("deep/er");
        let (first, kept) = at(&inside).secret("turn-secret").unwrap();
        assert_eq!(kept, Kept::InFile(inside.join("turn-secret")));
        assert!(first.expose_secret().len() >= 40);
        let mode = fs::metadata(inside.join("turn-secret")).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{mode:o}");
        let (second, _) = at(&inside).secret("turn-secret").unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_a_run_leaves_is_taken_once_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let state = at(&folder.path().join("deep/er"));
        assert!(state.take("seats").unwrap().is_none());
        state.leave("seats", "one").unwrap();
        state.leave("seats", "two").unwrap();
        let mode = fs::metadata(folder.path().join("deep/er/seats")).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        assert_eq!(state.take("seats").unwrap().as_deref(), Some("two"));
        assert!(state.take("seats").unwrap().is_none());
        State::find(&Environment::new()).leave("seats", "nowhere").unwrap();
    }

    #[test]
    fn what_is_no_text_is_taken_for_what_it_is_worth_and_is_gone_too() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("seats"), b"one\ntw\xc3").unwrap();
        let state = at(folder.path());
        assert!(state.take("seats").unwrap().unwrap().starts_with("one\ntw"));
        assert!(state.take("seats").unwrap().is_none());
    }

    #[test]
    fn without_a_folder_a_secret_lives_in_memory_and_says_so() {
        let (secret, kept) = State::find(&Environment::new()).secret("turn-secret").unwrap();
        assert!(secret.expose_secret().len() >= 40);
        assert!(matches!(kept, Kept::InMemory(why) if why.contains("STATE_DIRECTORY")));
        let (_, kept) = at(std::path::Path::new("/proc/nowhere")).secret("turn-secret").unwrap();
        assert!(matches!(kept, Kept::InMemory(why) if why.contains("/proc/nowhere")));
    }

    #[test]
    fn a_file_that_cannot_be_a_secret_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("turn-secret"), "x\n").unwrap();
        assert!(at(folder.path()).secret("turn-secret").is_err());
        assert_eq!(fs::read_to_string(folder.path().join("turn-secret")).unwrap(), "x\n");
    }
}
