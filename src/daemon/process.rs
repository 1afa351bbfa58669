//! Which process is the daemon: it keeps its number in a file, locked for as long as it lives, so that an old file is never
//! believed.

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::config::Environment;
use crate::config::State;

const NAME: &str = "callgate.pid";

/// Where the service of the package has it, for who calls from outside the service.
const OF_THE_SERVICE: &str = "/run/callgate";

/// Who looks for the daemon locks the file for an instant: a daemon that starts tries this often, this long after each other.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// The file with our number, ours until this is dropped.
#[derive(Debug)]
pub(super) struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // The file stays: whoever has it open already would lock one that nobody else sees.
        let _ = self.0.set_len(0);
    }
}

/// Leaves our number where `callgate reload` finds it. Without it the daemon serves as well, so failing is only said.
pub(super) fn hold(environment: &Environment, state: &State) -> Option<Held> {
    let folder = folders(environment, state).into_iter().next()?;
    match write(&folder) {
        Ok(Some(held)) => Some(held),
        Ok(None) => {
            let path = folder.join(NAME);
            tracing::warn!(path = %path.display(), "another callgate has this file: callgate reload finds that one");
            None
        }
        Err(error) => {
            let path = folder.join(NAME);
            tracing::warn!(path = %path.display(), %error, "cannot write this file: callgate reload will not find this process");
            None
        }
    }
}

/// Asks the running daemon to read its configuration again. Returns its number.
///
/// # Errors
/// There is none to be found, or it is not ours to ask.
pub fn reload(environment: &Environment, state: &State) -> anyhow::Result<i32> {
    let found = find(environment, state);
    let process = match environment.get("MAINPID").filter(|text| !text.is_empty()) {
        // systemd says it to what it runs for a reload; but who is run by another unit has that one's.
        Some(text) => {
            let said = number(text).with_context(|| format!("MAINPID is no process: {text:?}"))?;
            if is_our_program(said) { said } else { found? }
        }
        None => found?,
    };
    kill(Pid::from_raw(process), Signal::SIGHUP)
        .with_context(|| format!("cannot tell process {process} to reload"))?;
    Ok(process)
}

/// Whether a process runs the program that we are, or the one that was here before an upgrade.
fn is_our_program(process: i32) -> bool {
    let program = |of: &str| {
        let path = std::fs::read_link(format!("/proc/{of}/exe")).ok()?.into_os_string().into_vec();
        Some(path.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(path))
    };
    program("self").is_some_and(|ours| program(&process.to_string()) == Some(ours))
}

fn find(environment: &Environment, state: &State) -> anyhow::Result<i32> {
    let mut folders = folders(environment, state);
    folders.push(PathBuf::from(OF_THE_SERVICE));
    for folder in &folders {
        if let Some(process) = read(&folder.join(NAME))? {
            return Ok(process);
        }
    }
    let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    bail!(
        "no daemon is running that keeps a {NAME} in {}; if one does elsewhere, say where: STATE_DIRECTORY or RUNTIME_DIRECTORY",
        looked.join(" or ")
    )
}

/// Where to keep it, the best place first.
fn folders(environment: &Environment, state: &State) -> Vec<PathBuf> {
    let runtime = environment.get("RUNTIME_DIRECTORY").filter(|text| !text.is_empty());
    // systemd may name several.
    let runtime = runtime.and_then(|folders| folders.split(':').next()).map(PathBuf::from);
    runtime.into_iter().chain(state.folder().map(Path::to_owned)).collect()
}

/// None: another one has it.
fn write(folder: &Path) -> io::Result<Option<Held>> {
    DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
    let path = folder.join(NAME);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let mut tries = 1..TRIES;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if tries.next().is_some() => sleep(BETWEEN_TRIES),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())?;
    Ok(Some(Held(file)))
}

/// None: nobody has it.
fn read(path: &Path) -> anyhow::Result<Option<i32>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.take(64).read_to_string(&mut text).with_context(|| path.display().to_string())?;
            let process = number(&text).with_context(|| format!("{} holds no process", path.display()))?;
            Ok(Some(process))
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A process that can be told something: 0 and negative numbers are groups, 1 is somebody else.
fn number(text: &str) -> Option<i32> {
    text.trim().parse().ok().filter(|&process| process > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &Path) -> (Environment, State) {
        let environment = Environment::from([("STATE_DIRECTORY".to_owned(), folder.display().to_string())]);
        let state = State::find(&environment);
        (environment, state)
    }

    #[test]
    fn the_running_one_is_found_and_a_dead_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (environment, state) = at(&folder.path().join("new"));
        assert!(find(&environment, &state).is_err());
        let held = hold(&environment, &state).unwrap();
        assert_eq!(find(&environment, &state).unwrap(), i32::try_from(std::process::id()).unwrap());
        assert!(hold(&environment, &state).is_none(), "two have it");
        drop(held);
        let error = find(&environment, &state).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        // What a killed one leaves.
        std::fs::write(folder.path().join("new").join(NAME), "1234\n").unwrap();
        assert!(find(&environment, &state).is_err());
        assert!(hold(&environment, &state).is_some());
    }

    #[test]
    fn the_runtime_folder_is_preferred() {
        let folder = tempfile::tempdir().unwrap();
        let (mut environment, state) = at(&folder.path().join("state"));
        let runtime = folder.path().join("run");
        environment.insert("RUNTIME_DIRECTORY".to_owned(), format!("{}:/elsewhere", runtime.display()));
        let _held = hold(&environment, &state).unwrap();
        assert!(runtime.join(NAME).exists() && !folder.path().join("state").exists());
    }

    #[test]
    fn who_looks_for_a_daemon_does_not_keep_one_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let (environment, state) = at(folder.path());
        let file = File::create(folder.path().join(NAME)).unwrap();
        file.lock_shared().unwrap();
        // Whoever looks is done before the last try, unless this machine is too busy for it: then it is done soon.
        let mut late = 0;
        let held = loop {
            let looks = file.try_clone().unwrap();
            let looking = std::thread::spawn(move || {
                sleep(BETWEEN_TRIES * 3 / 2);
                looks.unlock().unwrap();
            });
            let held = hold(&environment, &state);
            looking.join().unwrap();
            if held.is_some() || late == 20 {
                break held;
            }
            late += 1;
            file.lock_shared().unwrap();
        };
        assert!(held.is_some());
    }

    #[test]
    fn a_process_of_another_unit_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut environment, state) = at(folder.path());
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        environment.insert("MAINPID".to_owned(), other.id().to_string());
        let told = reload(&environment, &state);
        // SIGHUP would have ended it.
        sleep(Duration::from_millis(50));
        let ended = other.try_wait().unwrap();
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(told.is_err() && ended.is_none(), "{told:?} {ended:?}");
        assert!(is_our_program(i32::try_from(std::process::id()).unwrap()));
    }

    #[test]
    fn groups_and_the_first_process_are_nobody_to_tell() {
        for text in ["0", "-1", "1", "", "x", "99999999999"] {
            assert_eq!(number(text), None, "{text:?}");
            let environment = Environment::from([("MAINPID".to_owned(), text.to_owned())]);
            let nowhere = State::find(&Environment::new());
            assert!(reload(&environment, &nowhere).is_err());
        }
        assert_eq!(number(" 77\n"), Some(77));
    }
}
