//! A server under test: started pinned, measured through /proc, ended by its id.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` on `core`, its output into `log`.
    pub fn start(mut command: Command, core: usize, log: &str) -> Process {
        let file = fs::File::create(log).expect("log file");
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        // SAFETY: only async-signal-safe calls between fork and exec.
        unsafe {
            command.pre_exec(move || {
                pin(core);
                favour();
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        Process { child: command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}")) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// CPU nanoseconds so far, all threads.
    pub fn cpu(&self) -> u64 {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.id())) else { return 0 };
        tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
            .filter_map(|text| text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()))
            .sum()
    }

    /// Resident bytes.
    pub fn resident(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.id())).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("Rss:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ahead of whatever else the machine does, where that is allowed: servers and generator alike.
pub fn favour() {
    // SAFETY: plain syscall.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
}

/// Pins the calling thread to one core.
pub fn pin(core: usize) {
    // SAFETY: a zeroed cpu_set_t is a valid empty set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}
