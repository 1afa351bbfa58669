//! How many files (so, sockets) this process may open.

use nix::sys::resource::Resource;
use nix::sys::resource::getrlimit;
use nix::sys::resource::setrlimit;

/// With fewer than this a relay is soon full.
const FEW: u64 = 4096;

/// Raises the limit as far as it goes without privileges, and returns it.
pub(super) fn raise() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    if limit < FEW {
        tracing::warn!(limit, "few files may be open at a time: every connection and every relay takes one");
    }
    limit
}
