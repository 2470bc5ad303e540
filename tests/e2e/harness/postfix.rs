//! A real mail server: a Postfix of the test's own, which hands mail on, refuses, and reports what it could not deliver.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::free_address;
use crate::services::wait::eventually;

/// Postfix has to be installed, and starts as root alone: elsewhere by sudo.
#[derive(Debug)]
pub struct Postfix {
    dir: TempDir,
    /// Where mail is taken.
    pub address: SocketAddr,
    /// The same without PIPELINING.
    pub one_by_one: SocketAddr,
}

impl Postfix {
    /// Mail goes on to `next`, and what is for `b.example.test` by LMTP to `lmtp`. At `dest.test`, `hard` is refused for
    /// good, `soft` and `full` for now, and `busy` makes the server end the connection.
    pub async fn start(next: SocketAddr, lmtp: SocketAddr) -> Postfix {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let postfix = Postfix { dir, address: free_address(), one_by_one: free_address() };
        let path = postfix.path();
        // Postfix's own user passes through it.
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a folder of ours");
        for folder in ["spool", "data"] {
            fs::create_dir(path.join(folder)).expect("a folder");
        }
        fs::write(path.join("main.cf"), main_cf(path, next, lmtp)).expect("a file");
        fs::write(path.join("master.cf"), master_cf(postfix.address, postfix.one_by_one)).expect("a file");
        let owned = postfix.run("chown", &["postfix", &path.join("data").display().to_string()]);
        let started = postfix.postfix("start");
        assert!(owned && started, "no Postfix (it needs the package and root, or sudo): {}", postfix.log());
        for address in [postfix.address, postfix.one_by_one] {
            eventually("Postfix listens", async || tokio::net::TcpStream::connect(address).await.ok()).await;
        }
        postfix
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("mail.log")).unwrap_or_default()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn postfix(&self, word: &str) -> bool {
        self.run("postfix", &["-c", &self.path().display().to_string(), word])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let root = fs::metadata(self.path()).is_ok_and(|folder| folder.uid() == 0);
        let words: &[&str] = if root { &["env"] } else { &["sudo", "-n", "env"] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin").arg(program).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let stopped = self.postfix("stop");
        if std::thread::panicking() || !stopped {
            eprintln!("--- Postfix\n{}---", self.log());
        }
        // Its files are its own user's.
        self.run("rm", &["-rf", &self.path().join("spool").display().to_string()]);
    }
}

fn main_cf(path: &Path, next: SocketAddr, lmtp: SocketAddr) -> String {
    let path = path.display();
    let (next, lmtp) = (format!("[{}]:{}", next.ip(), next.port()), format!("inet:{lmtp}"));
    format!(
        "compatibility_level = 3.6
queue_directory = {path}/spool
data_directory = {path}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mta.test.local
mydestination =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{
  {{hard@dest.test = 550 5.1.1 User unknown}} {{soft@dest.test = 451 4.7.1 Greylisted}}
  {{full@dest.test = 452 4.2.2 Mailbox full}} {{busy@dest.test = 421 4.3.2 Too busy}} }}, permit_mynetworks
transport_maps = inline:{{ {{b.example.test = lmtp:{lmtp}}} }}
relayhost = {next}
smtp_dns_support_level = disabled
maillog_file = {path}/mail.log
maillog_file_prefixes = {path}
"
    )
}

fn master_cf(address: SocketAddr, one_by_one: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd
{one_by_one} inet n - n - - smtpd -o smtpd_discard_ehlo_keywords=pipelining
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"
    )
}
