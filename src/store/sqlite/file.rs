//! The file: how it is opened, locked, looked over, and moved out of the way.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rusqlite::Connection;
use rusqlite::OpenFlags;

use super::fault::Trouble;

/// How long another program (somebody's `sqlite3`) may hold the file before a write is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// A log that has grown beyond this, in bytes, is cut when it starts anew.
const LOG: i64 = 64 << 20;

/// Up to this size, in bytes, a file is looked over at every start: it takes about 0.1 s.
const SMALL: u64 = 16 << 20;

/// Statements that are kept ready.
const STATEMENTS: usize = 32;

/// The path with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Makes the file, and its folder, if they are not there. Returns whether it was made.
pub(super) fn make(path: &Path) -> io::Result<bool> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    }
    // Never opened once it is there: closing it again would end SQLite's own locks on it.
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Ok(_) => {
            sync_folder(path)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Has a name in its folder survive the loss of power.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Nobody else's for as long as it lives. Another daemon on the same file would not see what this one has in memory.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held")] Option<File>);

const LOCK: &str = ".lock";

/// Whether a callgate has ever had this file: its lock stays when it goes.
pub(super) fn is_known(path: &Path) -> bool {
    beside(path, LOCK).exists()
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Lock, Trouble> {
        let lock = beside(path, LOCK);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&lock);
        let file = match open {
            Ok(file) => file,
            // Nobody can write here: neither can another daemon.
            Err(error) if matches!(error.raw_os_error(), Some(EROFS | ENOSPC | EDQUOT)) => {
                return Ok(Lock(None));
            }
            Err(error) => return Err(Trouble::Outside(format!("{}: {error}", lock.display()).into())),
        };
        match file.try_lock() {
            Ok(()) => Ok(Lock(Some(file))),
            Err(TryLockError::WouldBlock) => Err(Trouble::NotOurs("another callgate is using it".into())),
            Err(TryLockError::Error(error)) => {
                Err(Trouble::Outside(format!("{}: {error}", lock.display()).into()))
            }
        }
    }
}

const EROFS: i32 = libc::EROFS;
const ENOSPC: i32 = libc::ENOSPC;
const EDQUOT: i32 = libc::EDQUOT;

/// Which file this is, whatever its name.
pub(super) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// Sets how long another program that holds the file is waited for: at first, or after that was in vain.
pub(super) fn be_patient(db: &Connection, again: bool) -> rusqlite::Result<()> {
    db.busy_timeout(if again { Duration::ZERO } else { PATIENCE })
}

/// For writing. The file has to be there.
pub(super) fn write(path: &Path, again: bool) -> Result<Connection, Trouble> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    be_patient(&db, again)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    let mode: String = db.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Outside(
            format!("a write-ahead log is not possible here (it stays {mode:?})").into(),
        ));
    }
    // An acknowledged write survives the loss of power.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.query_row(&format!("PRAGMA journal_size_limit = {LOG}"), [], |_| Ok(()))?;
    Ok(db)
}

/// For reading, beside whoever writes.
pub(super) fn read(path: &Path) -> Result<Connection, Trouble> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(db)
}

/// For reading where nothing can be written, not even the small file that readers and writers share: nobody else may have
/// the file open.
pub(super) fn read_alone(path: &Path) -> Result<Connection, Trouble> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.query_row("PRAGMA locking_mode = EXCLUSIVE", [], |_| Ok(()))?;
    Ok(db)
}

/// For reading where the file system is read-only: only if nothing is left in the log, which could not be looked into.
pub(super) fn read_unchanging(path: &Path) -> Result<Connection, Trouble> {
    if fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0) {
        return Err(Trouble::Outside("its log is to be applied, and the file system is read-only".into()));
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    Ok(Connection::open_with_flags(uri, flags)?)
}

/// Looks the whole file over, if it is small or was found damaged by the last run.
pub(super) fn check(path: &Path, db: &Connection) -> Result<(), Trouble> {
    let suspect = beside(path, SUSPECT);
    if fs::metadata(path)?.len() > SMALL && !suspect.exists() {
        return Ok(());
    }
    let word: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if word != "ok" {
        return Err(Trouble::Damaged(format!("the file is damaged ({word})").into()));
    }
    let _ = fs::remove_file(suspect);
    Ok(())
}

const SUSPECT: &str = ".suspect";

/// Has the next start look the file over.
pub(super) fn suspect(path: &Path) {
    // If not even this can be written, it will be found damaged again.
    let _ = File::create(beside(path, SUSPECT));
}

/// Moves a damaged file, and what belongs to it, out of the way. Returns its new name.
pub(super) fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut to = beside(path, &format!(".corrupt-{now}"));
    for n in 1.. {
        if !to.exists() {
            break;
        }
        to = beside(path, &format!(".corrupt-{now}-{n}"));
    }
    fs::rename(path, &to)?;
    // The shared memory of readers and writers means nothing without them.
    for (suffix, keep) in [("-wal", true), ("-shm", false), (SUSPECT, false)] {
        let part = beside(path, suffix);
        let moved = if keep { fs::rename(&part, beside(&to, suffix)) } else { fs::remove_file(&part) };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(to)
}
