//! The sinks for measuring as programs: one thread each, a line of JSON each second that says what came so far.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use campaignd_loadtest::sinks::{Counter, http, smtp};
use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::drive::now_micros;

/// A sink that answers as fast as it can.
#[derive(Debug, Args)]
pub(crate) struct Sink {
    #[arg(long, value_enum)]
    of: Of,
    #[arg(long)]
    listen: SocketAddr,
    /// Answer each message, or request, after so many milliseconds
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Of mails that `drive publish` caused: where `NUMBER MICROSECONDS` is written, when each came
    #[arg(long)]
    marks: Option<PathBuf>,
    /// Of mails: where the paths of tracked links and pixels are written
    #[arg(long)]
    links: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Of {
    Smtp,
    Wechat,
    Fcm,
    Aliyun,
}

/// A file that the sink's thread writes to.
type Notes = Arc<Mutex<BufWriter<File>>>;

/// Runs until SIGTERM.
pub(crate) async fn sink(args: Sink) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let counter = Arc::new(Counter::default());
    let delay = Duration::from_millis(args.delay_ms);
    let service = match args.of {
        Of::Smtp => None,
        Of::Wechat => Some(http::Service::Wechat),
        Of::Fcm => Some(http::Service::Fcm),
        Of::Aliyun => Some(http::Service::Aliyun),
    };
    let (marks, links) = (open(args.marks)?, open(args.links)?);
    let watch = watch(marks.clone(), links.clone());
    let counted = Arc::clone(&counter);
    let sink = tokio::spawn(async move {
        match service {
            None => smtp::run(listener, smtp::Options { delay, watch }, counted).await,
            Some(service) => http::run(listener, service, delay, counted).await,
        }
    });
    let mut terminated = signal(SignalKind::terminate())?;
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut ended = false;
    while !ended {
        tokio::select! {
            _ = second.tick() => {}
            _ = terminated.recv() => ended = true,
        }
        for notes in [&marks, &links].into_iter().flatten() {
            lock(notes).flush()?;
        }
        say(&counter);
    }
    sink.abort();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the counts are the program's result")]
fn say(counter: &Counter) {
    let now = counter.counts();
    println!("{}", json!({"messages": now.messages, "bytes": now.bytes, "connections": now.connections}));
}

fn open(path: Option<PathBuf>) -> io::Result<Option<Notes>> {
    let file = path.map(File::create).transpose()?;
    Ok(file.map(|file| Arc::new(Mutex::new(BufWriter::new(file)))))
}

fn lock(notes: &Notes) -> MutexGuard<'_, BufWriter<File>> {
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(marks: Option<Notes>, links: Option<Notes>) -> Option<smtp::Watch> {
    if marks.is_none() && links.is_none() {
        return None;
    }
    // What could not be written is missed by whoever reads the files.
    Some(Arc::new(move |content: &[u8]| {
        if let (Some(notes), Some(number)) = (&marks, mark(content)) {
            let _missed = writeln!(lock(notes), "{number} {}", now_micros());
        }
        if let Some(notes) = &links {
            let mut file = lock(notes);
            for path in paths(content) {
                let _missed = writeln!(file, "{path}");
            }
        }
    }))
}

/// The number in `mark-NUMBER`, which stands in the subject.
fn mark(content: &[u8]) -> Option<u32> {
    const MARK: &[u8] = b"mark-";
    let head = &content[..content.len().min(4_096)];
    let digits = &head[memchr::memmem::find(head, MARK)? + MARK.len()..];
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

/// Of links to the tracker on this machine: `/o/TOKEN` and `/c/TOKEN`.
fn paths(content: &[u8]) -> Vec<String> {
    // Quoted-printable breaks lines anywhere, and encodes nothing that a token has.
    let text = String::from_utf8_lossy(content).replace("=\r\n", "");
    let path = |rest: &str| {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let (kind, token) = rest.split_at_checked(3)?;
        let end = token.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
        matches!(kind, "/o/" | "/c/")
            .then(|| format!("{kind}{}", token.split_at(end.unwrap_or(token.len())).0))
    };
    text.split("http://127.0.0.1:").skip(1).filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_from_the_subject() {
        assert_eq!(mark(b"Subject: Name 7, mark-4711 off\r\n\r\n"), Some(4711));
        assert_eq!(mark(b"Subject: 20 % off\r\n\r\n"), None);
    }

    #[test]
    fn tracked_links_are_found_across_soft_line_breaks() {
        let mail = b"<a href=3D\"http://127.0.0.1:80=\r\n80/c/Ab-_=\r\n9\">x</a> <a href=3D\"http://127.0.0.1:8080/u/Q\">\
            <img src=3D\"http://127.0.0.1:8080/o/Zz\">";
        assert_eq!(paths(mail), ["/c/Ab-_9", "/o/Zz"]);
    }
}
