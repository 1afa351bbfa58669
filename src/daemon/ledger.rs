//! Where rooms are kept over a restart: a file, unless the operator wants none, or there is no place for one.

use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::anyhow;
use anyhow::bail;

use crate::config::Settings;
use crate::config::State;
use crate::config::StoreUrl;
use crate::store;
use crate::store::Copied;
use crate::store::Keep;
use crate::store::Ledger;
use crate::store::Sqlite;
use crate::store::Volatile;

/// Where the service of the package has its state, for who calls from outside the service.
const OF_THE_SERVICE: &str = "/var/lib/callgate";

/// Opens what the configuration names. Blocks.
///
/// # Errors
/// There is a file, and it cannot be used; or the one that is named cannot be made.
pub(super) fn open(settings: &Settings, state: &State) -> anyhow::Result<Box<dyn Ledger>> {
    let keep = Keep {
        history: settings.rooms.history as usize,
        history_ttl: settings.rooms.history_ttl,
        calls: settings.store.calls,
        calls_ttl: settings.store.calls_ttl,
    };
    let volatile = || Box::new(Volatile::new(keep));
    let path = match &settings.store.url {
        StoreUrl::Memory => return Ok(volatile()),
        StoreUrl::Sqlite(path) => path.clone(),
        StoreUrl::Default => match of_state(state) {
            Some(path) => path,
            None => {
                tracing::warn!(
                    "no state folder is known (set STATE_DIRECTORY, XDG_STATE_HOME or HOME): rooms live in memory, and end with this process"
                );
                return Ok(volatile());
            }
        },
    };
    match Sqlite::open(&path, keep) {
        Ok(ledger) => Ok(Box::new(ledger)),
        // Nothing is lost that was there; a daemon that was not told where to keep rooms serves without.
        Err(why) if settings.store.url == StoreUrl::Default && !path.exists() => {
            tracing::warn!(%why, "rooms cannot be kept: they live in memory, and end with this process");
            Ok(volatile())
        }
        Err(why) => Err(anyhow!("the store cannot be used: {why}")),
    }
}

fn of_state(state: &State) -> Option<PathBuf> {
    state.folder().map(|folder| folder.join(State::STORE))
}

/// Copies what the running daemon keeps.
///
/// # Errors
/// It keeps nothing, or nothing is found, or the copy cannot be made.
pub fn backup(settings: &Settings, state: &State, to: &Path) -> anyhow::Result<Copied> {
    let from = match &settings.store.url {
        StoreUrl::Memory => bail!("store.url is \"memory:\": nothing is kept, and there is nothing to copy"),
        StoreUrl::Sqlite(path) => path.clone(),
        StoreUrl::Default => {
            let of_service = Path::new(OF_THE_SERVICE).join(State::STORE);
            let places: Vec<PathBuf> = of_state(state).into_iter().chain([of_service]).collect();
            let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
            places.into_iter().find(|path| path.exists()).with_context(|| {
                format!(
                    "there is no {}; if it is elsewhere, say where: STATE_DIRECTORY, or store.url",
                    looked.join(" or ")
                )
            })?
        }
    };
    store::backup(&from, to).map_err(|why| anyhow!("{why}"))
}
