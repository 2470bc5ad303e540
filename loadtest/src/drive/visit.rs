//! Opens and clicks: GET requests over connections that stay, each path twice. A repeat comes some thousands of requests
//! after its first.
//!
//! With a rate, requests are due at fixed times and wait for a free connection: their latency counts from when they were
//! due, so that a slow answer does not hide those that came after it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{millis, percentile, tell};

/// Paths between a first request and its repeat.
const APART: usize = 4_096;

#[derive(Debug, Args)]
pub(crate) struct Visit {
    /// The public listener, as 127.0.0.1:8080
    #[arg(long)]
    to: String,
    /// A file with a path a line
    #[arg(long)]
    paths: PathBuf,
    /// Requests, at most twice the paths
    #[arg(long)]
    count: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// A second; absent: as fast as they are answered
    #[arg(long)]
    rate: Option<f64>,
}

struct Work {
    paths: Vec<String>,
    count: usize,
    rate: Option<f64>,
    next: AtomicUsize,
    began: Instant,
}

pub(super) async fn run(args: Visit) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.paths).context("the paths cannot be read")?;
    let paths: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(args.count <= 2 * paths.len(), "{} requests need half as many paths", args.count);
    let work = Arc::new(Work {
        paths: doubled(&paths),
        count: args.count,
        rate: args.rate,
        next: AtomicUsize::new(0),
        began: Instant::now(),
    });
    let visitors: Vec<_> =
        (0..args.connections).map(|_| tokio::spawn(visitor(args.to.clone(), Arc::clone(&work)))).collect();
    let mut latencies = Vec::with_capacity(args.count);
    for visitor in visitors {
        latencies.extend(visitor.await??);
    }
    let seconds = work.began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    tell(&json!({
        "messages": latencies.len(), "seconds": seconds,
        "p50_ms": millis(percentile(&latencies, 0.5)), "p99_ms": millis(percentile(&latencies, 0.99)),
        "max_ms": millis(percentile(&latencies, 1.0)),
    }));
    Ok(())
}

/// Every path twice.
fn doubled(paths: &[String]) -> Vec<String> {
    paths.chunks(APART).flat_map(|some| some.iter().chain(some)).cloned().collect()
}

/// How long each of its requests took.
async fn visitor(to: String, work: Arc<Work>) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(&to).await.context("the public listener cannot be reached")?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::new();
    let mut answer = Vec::with_capacity(4 << 10);
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        if number >= work.count {
            return Ok(latencies);
        }
        let mut due = Instant::now();
        if let Some(rate) = work.rate {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
            let after = Duration::from_secs_f64(number as f64 / rate);
            due = work.began + after;
            tokio::time::sleep_until(due).await;
        }
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {to}\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0\r\n\r\n",
            work.paths[number]
        );
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut answer).await.with_context(|| work.paths[number].clone())?;
        latencies.push(due.elapsed());
    }
}

/// One answer with a Content-Length: 200 or 302.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> anyhow::Result<()> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the connection ended after {} bytes of an answer", answer.len());
        }
        let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { continue };
        let head = str::from_utf8(&answer[..end])?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(matches!(status, "200" | "302"), "answered {status}");
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length.map_or("0", |(_, value)| value.trim()).parse()?;
        if answer.len() >= end + 4 + length {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_comes_twice_and_not_at_once() {
        let paths: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let all = doubled(&paths);
        assert_eq!(all.len(), 20_000);
        assert_eq!((&*all[0], &*all[APART], &*all[2 * APART]), ("0", "0", "4096"));
        assert_eq!(all.iter().filter(|path| **path == "9999").count(), 2);
    }
}
