//! Web APIs: HTTP/1.1 with a Content-Length, one canned answer a request. Signatures, tokens and bodies are not looked at.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Counter, listen};

const HEAD_END: &[u8] = b"\r\n\r\n";
const MOST_HEAD: usize = 64 << 10;

/// Whose words the sink has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Wechat,
    Fcm,
    Aliyun,
}

/// Takes requests until it is dropped, and answers each after `delay`.
pub async fn run(listener: TcpListener, service: Service, delay: Duration, counter: Arc<Counter>) {
    let serving = Arc::clone(&counter);
    listen(listener, counter, move |stream| serve(stream, service, delay, Arc::clone(&serving))).await;
}

async fn serve(
    mut stream: TcpStream,
    service: Service,
    delay: Duration,
    counter: Arc<Counter>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(16 << 10);
    let mut output = Vec::with_capacity(1 << 10);
    loop {
        while let Some((head, body)) = request(&input)? {
            if !delay.is_zero() {
                stream.write_all(&output).await?;
                output.clear();
                tokio::time::sleep(delay).await;
            }
            let (messages, answer) = service.answer(&input[..head], &input[head..head + body]);
            counter.took(messages, body);
            let fixed = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            output.extend_from_slice(fixed.as_bytes());
            output.extend_from_slice(answer.as_bytes());
            input.advance(head + body);
        }
        stream.write_all(&output).await?;
        output.clear();
        input.reserve(8 << 10);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// The lengths of the first request's head and body, once both are there.
fn request(input: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(end) = memchr::memmem::find(input, HEAD_END) else {
        let odd = input.len() > MOST_HEAD;
        return if odd { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
    };
    let head = end + HEAD_END.len();
    let body = content_length(&input[..head]).ok_or(io::ErrorKind::InvalidData)?;
    Ok((input.len() - head >= body).then_some((head, body)))
}

/// 0 where there is none; nothing where it is no number.
fn content_length(head: &[u8]) -> Option<usize> {
    let name = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.first_chunk().is_some_and(|start: &[u8; 15]| start.eq_ignore_ascii_case(name)));
    let Some(line) = line else { return Some(0) };
    str::from_utf8(&line[name.len()..]).ok()?.trim().parse().ok()
}

impl Service {
    /// How many messages a request carries, and what it is answered.
    fn answer(self, head: &[u8], body: &[u8]) -> (u64, &'static str) {
        let asks = |path: &[u8]| {
            let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
            memchr::memmem::find(line, path).is_some()
        };
        match self {
            Service::Wechat if asks(b"token ") => (0, r#"{"access_token":"bench","expires_in":7200}"#),
            Service::Wechat => (1, r#"{"errcode":0,"errmsg":"ok","msgid":1}"#),
            Service::Fcm if asks(b"/token ") => {
                (0, r#"{"access_token":"bench","expires_in":3599,"token_type":"Bearer"}"#)
            }
            Service::Fcm => (1, r#"{"name":"projects/bench/messages/1"}"#),
            Service::Aliyun => (
                numbers(body),
                r#"{"Code":"OK","Message":"OK","RequestId":"B-1","BizId":"900619746936498440^0"}"#,
            ),
        }
    }
}

/// The numbers of a `SendBatchSms`, whose form carries them as `["1","2"]`; else one.
fn numbers(form: &[u8]) -> u64 {
    let name = b"PhoneNumberJson=";
    let Some(at) = memchr::memmem::find(form, name) else { return 1 };
    let value = &form[at + name.len()..];
    let value = &value[..memchr::memchr(b'&', value).unwrap_or(value.len())];
    1 + memchr::memmem::find_iter(value, b"%2C").count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_whole_once_its_body_is_there() {
        let input = b"POST /x HTTP/1.1\r\nhost: h\r\nContent-Length: 3\r\n\r\nabcGET";
        for cut in 0..input.len() - 3 {
            let whole = request(&input[..cut]).unwrap();
            assert_eq!(whole.is_some(), cut >= input.len() - 3, "{cut}");
        }
        let head = input.len() - 6;
        assert_eq!(request(input).unwrap(), Some((head, 3)));
        assert_eq!(request(b"GET /x HTTP/1.1\r\n\r\n").unwrap(), Some((19, 0)));
        assert!(request(b"GET /x HTTP/1.1\r\ncontent-length: x\r\n\r\n").is_err());
    }

    #[test]
    fn messages_of_a_batch_are_counted() {
        let form = b"TemplateCode=SMS_1&PhoneNumberJson=%5B%221%22%2C%222%22%2C%223%22%5D&SignNameJson=%5B%22a%22%2C";
        assert_eq!(numbers(form), 3);
        assert_eq!(numbers(b"PhoneNumbers=1"), 1);
    }
}
