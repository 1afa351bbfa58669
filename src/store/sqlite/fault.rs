//! What can go wrong with the file, and what it means.

use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::store::ledger::Fault;

/// Why something cannot be done with the file.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file's surroundings: the next write may succeed once they are mended.
    Outside(Arc<str>),
    /// What the file holds is damaged.
    Damaged(Arc<str>),
    /// This file is not for us to write to.
    NotOurs(Arc<str>),
    /// Only what was to be written.
    Inside(Arc<str>),
}

impl Trouble {
    /// Whether other records would fare no better.
    pub(super) fn is_of_the_file(&self) -> bool {
        !matches!(self, Trouble::Inside(_))
    }

    /// For the operator.
    pub(super) fn why(&self) -> &Arc<str> {
        match self {
            Trouble::Outside(why) | Trouble::Damaged(why) | Trouble::NotOurs(why) | Trouble::Inside(why) => {
                why
            }
        }
    }

    /// As the ledger says it.
    pub(super) fn fault(&self) -> Fault {
        Fault(Arc::clone(self.why()))
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        let Some(code) = error.sqlite_error_code() else { return Trouble::Inside(error.to_string().into()) };
        let what = match code {
            ErrorCode::DiskFull => "the disk is full",
            ErrorCode::ReadOnly => "the file or its folder is read-only",
            ErrorCode::SystemIoFailure => "the disk does not read or write",
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another program keeps the file locked",
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => "the file cannot be opened",
            ErrorCode::OutOfMemory => "there is no memory left",
            ErrorCode::FileLockingProtocolFailed => "the file cannot be locked",
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                return Trouble::Damaged(format!("the file is damaged ({error})").into());
            }
            _ => return Trouble::Inside(error.to_string().into()),
        };
        Trouble::Outside(format!("{what} ({error})").into())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Outside(error.to_string().into())
    }
}
