//! Mail servers that are not ours: one that remembers every mail, one that only counts but is fast.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use mail_parser::MimeHeaders;
use serde::Deserialize;
use tempfile::TempDir;

use super::free_address;
use super::process::Process;
use crate::services::wait::eventually;

/// `peers/smtp_sink.py`, which says how recipients are refused or put off.
#[derive(Debug)]
pub struct RecordingSink {
    _process: Process,
    dir: TempDir,
    address: SocketAddr,
}

/// A mail as the sink read it, transfer encodings undone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Mail {
    pub from: String,
    pub to: Vec<String>,
    /// In their order, names as written.
    pub headers: Vec<(String, String)>,
    pub parts: Vec<Part>,
    /// What is not as the standards of MIME have it.
    #[serde(default)]
    pub defects: Vec<String>,
    /// Bytes of the message as it came.
    pub size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Part {
    #[serde(rename = "type")]
    pub media_type: String,
    pub text: String,
}

impl Mail {
    /// The first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Where the links of the HTML lead, in their order.
    pub fn links(&self) -> Vec<String> {
        self.quoted("href=\"")
    }

    /// Where the open pixel lies.
    pub fn pixel(&self) -> String {
        self.quoted("<img src=\"").pop().expect("a pixel")
    }

    fn quoted(&self, before: &str) -> Vec<String> {
        let html = self.part("text/html").expect("HTML");
        let rest = html.split(before).skip(1);
        rest.filter_map(|rest| rest.split_once('"')).map(|(url, _)| url.to_owned()).collect()
    }

    pub fn message_id(&self) -> String {
        self.header("message-id").expect("a Message-ID").to_owned()
    }

    pub fn part(&self, media_type: &str) -> Option<&str> {
        self.parts.iter().find(|part| part.media_type == media_type).map(|part| part.text.as_str())
    }
}

impl RecordingSink {
    pub async fn start() -> RecordingSink {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/smtp_sink.py"));
        let mut process = Process::start(command.arg(dir.path().join("mails")), dir.path().join("log"));
        let address = eventually("the recording sink's port", async || {
            assert!(process.status().is_none(), "the recording sink ended, run scripts/setup");
            process.log().strip_prefix("listening ")?.trim().parse().ok()
        })
        .await;
        RecordingSink { _process: process, dir, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All mails so far, in the order of their arrival. A line that the sink is still writing is of none yet.
    pub fn mails(&self) -> Vec<Mail> {
        let written = fs::read(self.dir.path().join("mails")).unwrap_or_default();
        let lines = written.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        lines.map(|line| serde_json::from_slice(line).expect("a line of the sink's")).collect()
    }
}

/// `peers/clock_sink.py`, which knows when each mail came.
#[derive(Debug)]
pub struct ClockSink {
    process: Process,
    _dir: TempDir,
    address: SocketAddr,
}

impl ClockSink {
    /// Mails are answered `answer_after` they came.
    pub async fn start(answer_after: Duration) -> ClockSink {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/peers/clock_sink.py"));
        command.arg(answer_after.as_millis().to_string());
        let mut process = Process::start(&mut command, dir.path().join("log"));
        let address = eventually("the clock sink's port", async || {
            assert!(process.status().is_none(), "the clock sink ended: {}", process.log());
            process.log().lines().next()?.strip_prefix("listening ")?.trim().parse().ok()
        })
        .await;
        ClockSink { process, _dir: dir, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When each mail came, in order, and whom it was for: seconds since 1970.
    pub fn arrivals(&self) -> Vec<(f64, String)> {
        let log = self.process.log();
        let lines = log.split_inclusive('\n').skip(1).filter_map(|line| line.strip_suffix('\n'));
        let words = lines.filter_map(|line| line.split_once(' '));
        // What the server says of connections that were cut stands in between.
        let mut arrivals: Vec<(u64, String)> =
            words.filter_map(|(at, to)| Some((at.parse().ok()?, to.to_owned()))).collect();
        arrivals.sort();
        arrivals.into_iter().map(|(at, to)| (at as f64 / 1e9, to)).collect()
    }
}

/// Postfix's `smtp-sink`, ten times as fast: one file a mail.
#[derive(Debug)]
pub struct CountingSink {
    _process: Process,
    dir: TempDir,
    address: SocketAddr,
}

impl CountingSink {
    pub async fn start() -> CountingSink {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address = free_address();
        let program =
            std::env::var("CAMPAIGND_SMTP_SINK").unwrap_or_else(|_| "/usr/sbin/smtp-sink".to_owned());
        let mails = dir.path().join("mails");
        fs::create_dir(&mails).expect("a folder");
        let mut command = Command::new(program);
        // As root it insists on another user, who then must be able to write.
        if users_id() == 0 {
            command.args(["-u", "nobody"]);
            for (folder, mode) in [(dir.path(), 0o755), (mails.as_path(), 0o777)] {
                fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("a folder of ours");
            }
        }
        command.arg("-d").arg(mails.join("mail.")).arg(address.to_string()).arg("100");
        let mut process = Process::start(&mut command, dir.path().join("log"));
        eventually("the counting sink", async || {
            assert!(process.status().is_none(), "smtp-sink ended, run scripts/setup");
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
        CountingSink { _process: process, dir, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All mails that have arrived, by whom they are for; call it when none is on its way.
    pub fn mails(&self) -> Vec<Mail> {
        let files = fs::read_dir(self.dir.path().join("mails")).expect("the folder of mails");
        files.map(|file| read_dump(&fs::read(file.expect("a file").path()).expect("a mail"))).collect()
    }

    /// Mails that have begun to arrive.
    pub fn count(&self) -> usize {
        fs::read_dir(self.dir.path().join("mails")).expect("the folder of mails").count()
    }
}

/// A mail as `smtp-sink -d` writes it: the envelope in headers of its own, then the message with bare line feeds.
fn read_dump(dump: &[u8]) -> Mail {
    let message = mail_parser::MessageParser::default().parse(dump).expect("a mail that can be read");
    let argument = |name: &str| {
        let value = message.header_raw(name).expect("smtp-sink's own header").trim();
        value.trim_start_matches('<').split('>').next().unwrap_or_default().to_owned()
    };
    let header = |name: &str| {
        let value = message.header(name)?.as_text()?;
        Some((name.to_owned(), value.to_owned()))
    };
    let parts = message.parts.iter().filter_map(|part| {
        let media_type = part.content_type()?;
        let media_type = format!("{}/{}", media_type.ctype(), media_type.subtype()?);
        Some(Part { media_type, text: part.text_contents()?.to_owned() })
    });
    Mail {
        from: argument("X-Mail-Args"),
        to: vec![argument("X-Rcpt-Args")],
        headers: ["Subject", "Message-ID"].into_iter().filter_map(header).collect(),
        parts: parts.filter(|part| part.media_type.starts_with("text/")).collect(),
        defects: message
            .parts
            .iter()
            .filter(|part| part.is_encoding_problem)
            .map(|_| "a part's encoding".to_owned())
            .collect(),
        size: dump.len(),
    }
}

fn users_id() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").expect("Linux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends with Python's own client; answers with what was refused.
    async fn send(server: SocketAddr, recipients: &[&str]) -> String {
        let script = "import json, smtplib, sys\n\
             from email.message import EmailMessage\n\
             mail = EmailMessage()\n\
             mail['Subject'] = 'Grüße, 你好'\n\
             mail['From'] = 'shop@example.com'\n\
             mail.set_content('Tschüß 👋\\n')\n\
             mail.add_alternative('<p>Tschüß</p>', subtype='html')\n\
             try:\n\
             \x20   with smtplib.SMTP('127.0.0.1', int(sys.argv[1])) as server:\n\
             \x20       refused = server.sendmail('bounce@example.com', sys.argv[2:], mail.as_bytes())\n\
             except smtplib.SMTPRecipientsRefused as error:\n\
             \x20   refused = error.recipients\n\
             print({address: code for address, (code, _) in refused.items()})";
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", script, &server.port().to_string()]).args(recipients);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[tokio::test]
    async fn the_recording_sink_remembers_all_of_a_mail() {
        let sink = RecordingSink::start().await;
        assert_eq!(sink.mails(), []);
        assert_eq!(send(sink.address(), &["anna@example.org", "bo@example.org"]).await, "{}");
        let [mail] = sink.mails().try_into().unwrap();
        assert_eq!(mail.from, "bounce@example.com");
        assert_eq!(mail.to, ["anna@example.org", "bo@example.org"]);
        assert_eq!(mail.header("subject"), Some("Grüße, 你好"));
        assert_eq!(mail.part("text/plain"), Some("Tschüß 👋\n"));
        assert_eq!(mail.part("text/html"), Some("<p>Tschüß</p>\n"));
        assert!(mail.size > 300);
    }

    #[tokio::test]
    async fn the_recording_sink_refuses_and_puts_off() {
        let sink = RecordingSink::start().await;
        let all = ["reject-1@example.org", "defer-1@example.org"];
        assert_eq!(
            send(sink.address(), &all).await,
            "{'reject-1@example.org': 550, 'defer-1@example.org': 451}"
        );
        assert_eq!(send(sink.address(), &all).await, "{'reject-1@example.org': 550}");
        assert_eq!(sink.mails().len(), 1);
    }

    #[tokio::test]
    async fn the_counting_sink_counts() {
        let sink = CountingSink::start().await;
        for expected in 1..=3 {
            assert_eq!(send(sink.address(), &["anna@example.org"]).await, "{}");
            assert_eq!(sink.count(), expected);
        }
        let mails = sink.mails();
        assert_eq!(
            (mails[0].from.as_str(), mails[0].to.as_slice()),
            ("bounce@example.com", &["anna@example.org".to_owned()][..])
        );
        assert_eq!(mails[0].header("subject"), Some("Grüße, 你好"));
        assert_eq!(mails[0].part("text/plain").map(str::trim), Some("Tschüß 👋"));
    }
}
