//! A child process: its output goes to a file, and it does not outlive its owner.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use crate::services::wait::eventually;

#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; stdout and stderr are appended to the file `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Process {
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = command
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        Process { child, log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log file")).into_owned()
    }

    /// Its exit status, if it has ended.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the end of a process", async || self.status()).await
    }

    pub fn sigterm(&mut self) {
        self.signal("TERM");
    }

    pub fn sighup(&mut self) {
        self.signal("HUP");
    }

    pub fn sigkill(&mut self) {
        self.signal("KILL");
    }

    /// Lets it stand still until [`Process::thaw`].
    pub fn freeze(&mut self) {
        self.signal("STOP");
    }

    pub fn thaw(&mut self) {
        self.signal("CONT");
    }

    /// A child that has not been waited for keeps its pid, so no stranger is hit.
    fn signal(&mut self, name: &str) {
        assert!(self.status().is_none(), "it has ended already; its log:\n{}", self.log());
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("/bin/sh").args(["-c", &kill]).status().expect("a shell").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status().is_none() {
            self.child.kill().expect("kills a child of ours");
            self.child.wait().expect("waits for a child of ours");
        }
        if std::thread::panicking() {
            eprintln!("--- {}\n{}---", self.log.display(), self.log());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[tokio::test]
    async fn signals_reach_the_process_and_its_words_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            "trap 'echo again' HUP; trap 'echo bye; exit 3' TERM; echo hello; while :; do read -r x; done";
        let (stdin, _keep_open) = std::io::pipe().unwrap();
        // A shell cannot trap what it was started to ignore, as under nohup.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", "/bin/sh", "-c", script]).stdin(stdin);
        let mut shell = Process::start(&mut command, dir.path().join("log"));
        eventually("hello", async || shell.log().contains("hello").then_some(())).await;
        shell.sighup();
        eventually("again", async || shell.log().contains("again").then_some(())).await;
        shell.sigterm();
        assert_eq!(shell.ended().await.code(), Some(3));
        assert!(shell.log().ends_with("bye\n"));
    }

    #[tokio::test]
    async fn sigkill_needs_no_consent() {
        let dir = tempfile::tempdir().unwrap();
        let mut sleeper = Process::start(Command::new("sleep").arg("600"), dir.path().join("log"));
        sleeper.sigkill();
        assert_eq!(sleeper.ended().await.signal(), Some(9));
    }
}
