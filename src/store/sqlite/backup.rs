//! A copy of the file, as of one moment, while it is in use.

use std::fmt::Display;
use std::fs;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::OpenFlags;

use super::fault::Trouble;
use super::file;
use super::schema;
use crate::store::ledger::Fault;

/// Who may read a copy.
const MODE: u32 = 0o640;

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The size of the copy.
    pub bytes: u64,
    /// Rooms in it.
    pub rooms: u64,
    /// What users are to rooms.
    pub people: u64,
    /// What was said.
    pub messages: u64,
    /// Calls that are over.
    pub calls: u64,
}

/// Copies the file at `from` to `to`, which must not be there yet. The copy is whole, of one moment, without a log beside it,
/// and was looked over. Blocks; whoever writes goes on meanwhile.
///
/// # Errors
/// It cannot be read, or the copy cannot be made.
pub fn backup(from: &Path, to: &Path) -> Result<Copied, Fault> {
    if to.symlink_metadata().is_ok() {
        return Err(Fault(format!("{} is there already, and is not overwritten", to.display()).into()));
    }
    let half = file::beside(to, &format!(".half-{}", std::process::id()));
    // Either of them may be what the matter is with.
    let failed = |why: &dyn Display| {
        Fault(format!("{} cannot be copied to {}: {why}", from.display(), to.display()).into())
    };
    // Made first: what SQLite makes, others may read. It fills one that is empty.
    let made = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&half);
    made.map_err(|error| failed(&format!("{}: {error}", half.display())))?;
    let outcome = copy(from, &half, to);
    // Linked under its name when it was whole.
    let _ = fs::remove_file(&half);
    outcome.map_err(|trouble| failed(trouble.why()))
}

fn copy(from: &Path, half: &Path, to: &Path) -> Result<Copied, Trouble> {
    let db = file::read(from)?;
    if !schema::is_current(&db)? {
        return Err(Trouble::NotOurs("it is of an older version; start this callgate once".into()));
    }
    let Some(name) = half.to_str() else {
        return Err(Trouble::Outside(format!("{} is no UTF-8", half.display()).into()));
    };
    // One reading transaction: whoever writes is not held up, and cannot make it begin anew.
    db.execute("VACUUM INTO ?1", [name])?;
    let copy = Connection::open_with_flags(
        half,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let word: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if word != "ok" {
        return Err(Trouble::Damaged(format!("the copy is damaged ({word})").into()));
    }
    let count = |table: &str| -> Result<u64, Trouble> {
        let rows: i64 = copy.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(rows.unsigned_abs())
    };
    let copied = Copied {
        bytes: fs::metadata(half)?.len(),
        rooms: count("rooms")?,
        people: count("people")?,
        messages: count("messages")?,
        calls: count("calls")?,
    };
    drop(copy);
    File::open(half)?.sync_all()?;
    put(half, to, |half, to| fs::hard_link(half, to))?;
    file::sync_folder(to)?;
    Ok(copied)
}

/// Gives a file that is whole its name, if nobody has it. Not every file system can link (vfat, many network shares): there the
/// name is taken first.
pub(super) fn put(half: &Path, to: &Path, link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    match link(half, to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {}
        done => return done,
    }
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(to)?;
    fs::rename(half, to).inspect_err(|_| {
        // It is our own, and empty.
        let _ = fs::remove_file(to);
    })
}
