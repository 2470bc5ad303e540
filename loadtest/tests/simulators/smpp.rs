//! SMPP: captured PDUs, long messages, throttling, overtaking answers, receipts that come again.

use std::net::SocketAddr;
use std::time::Duration;

use campaignd_loadtest::callback::Plan;
use campaignd_loadtest::clock::Clock;
use campaignd_loadtest::script::Rule;
use campaignd_loadtest::smpp::{Ids, Options, Smsc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::CAPTURED;
use crate::wire::find;

const CAPTURE: &str = include_str!("../../captures/smpp.txt");
const SUBMIT: u32 = 4;
const DELIVER: u32 = 5;
const UNBIND: u32 = 6;
const TRANSMITTER: u32 = 2;
const TRANSCEIVER: u32 = 9;
const ENQUIRE: u32 = 0x15;
const ANSWER: u32 = 0x8000_0000;

async fn start(options: Options) -> Smsc {
    let options = Options { clock: Clock::pinned(CAPTURED), ..options };
    Smsc::start("127.0.0.1:0", options).await.expect("a free port")
}

fn soon() -> Plan {
    Plan { after: Duration::from_millis(1), ..Options::default().receipts }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pdu {
    command: u32,
    status: u32,
    sequence: u32,
    body: Vec<u8>,
}

impl Pdu {
    fn answers(&self, sequence: u32, status: u32) -> bool {
        self.command & ANSWER != 0 && self.sequence == sequence && self.status == status
    }

    /// The C-octet string at its beginning.
    fn id(&self) -> String {
        String::from_utf8_lossy(self.body.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }

    fn holds(&self, text: &str) -> bool {
        find(&self.body, text.as_bytes()).is_some()
    }
}

struct Client(TcpStream);

impl Client {
    async fn connect(to: SocketAddr) -> Client {
        Client(TcpStream::connect(to).await.expect("the SMSC listens"))
    }

    async fn bound(to: SocketAddr, command: u32) -> Client {
        let mut client = Client::connect(to).await;
        assert_eq!(client.bind(command, "user", "pass").await, 0);
        client
    }

    async fn bind(&mut self, command: u32, system_id: &str, password: &str) -> u32 {
        self.say(command, 1, format!("{system_id}\0{password}\0\0\x34\0\0\0").as_bytes()).await;
        let answer = self.hear().await.expect("an answer");
        assert_eq!((answer.command, answer.sequence), (command | ANSWER, 1));
        answer.status
    }

    async fn say(&mut self, command: u32, sequence: u32, body: &[u8]) {
        let length = u32::try_from(16 + body.len()).expect("short");
        let head = [length, command, 0, sequence].map(u32::to_be_bytes).concat();
        self.0.write_all(&[&head, body].concat()).await.expect("the SMSC reads");
    }

    /// Nothing where the connection ended.
    async fn hear(&mut self) -> Option<Pdu> {
        let length = self.0.read_u32().await.ok()?;
        let (command, status) = (self.0.read_u32().await.ok()?, self.0.read_u32().await.ok()?);
        let sequence = self.0.read_u32().await.ok()?;
        let mut body = vec![0; length as usize - 16];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Pdu { command, status, sequence, body })
    }

    async fn submit(&mut self, sequence: u32, to: &str, content: &[u8]) {
        self.say(SUBMIT, sequence, &submit(to, 0, content)).await;
    }
}

/// In Latin-1, with a receipt.
fn submit(to: &str, esm_class: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short");
    let mut body = format!("\0\x05\0SHOP\0\x01\x01{to}\0").into_bytes();
    body.extend([esm_class, 0, 0, 0, 0, 1, 0, 3, 0, length]);
    [&body, content].concat()
}

#[tokio::test]
async fn captured_pdus_are_answered() {
    let smsc = start(Options { receipts: soon(), ..Options::default() }).await;
    let raw = |name: &str| {
        let line = CAPTURE.lines().find_map(|line| line.strip_prefix(name)?.split_once(": "));
        hex::decode(line.expect("a PDU").1).expect("hex")
    };
    let mut client = Client::connect(smsc.addr()).await;
    for (name, sequence) in [("bind_transceiver seq1", 1), ("submit_sm seq2", 2), ("enquire_link seq3", 3)] {
        client.0.write_all(&raw(name)).await.unwrap();
        assert!(client.hear().await.unwrap().answers(sequence, 0), "{name}");
        if sequence == 2 {
            let receipt = client.hear().await.unwrap();
            assert_eq!(receipt.command, DELIVER);
            let said = "id:0000000001 sub:001 dlvrd:001 submit date:2611210000 done date:2611210000 stat:DELIVRD err:000 text:hi";
            assert!(receipt.holds(said), "{}", String::from_utf8_lossy(&receipt.body));
            // receipted_message_id and message_state.
            assert!(receipt.holds("\0\x1e\0\x0b0000000001\0\x04\x27\0\x01\x02"));
            client.say(DELIVER | ANSWER, receipt.sequence, b"\0").await;
        }
    }
    let taken = smsc.tally().newest().remove(0);
    assert_eq!((&*taken.source, &*taken.destination, &*taken.text), ("BRAND", "8613800000001", "【签名】hi"));
    smsc.settled(|counts| counts.taken == 1).await;
    client.say(UNBIND, 9, b"").await;
    assert!(client.hear().await.unwrap().answers(9, 0));
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn only_the_account_binds_and_only_the_bound_send() {
    let smsc = start(Options::default()).await;
    let mut client = Client::connect(smsc.addr()).await;
    client.submit(7, "8613800000001", b"x").await;
    assert!(client.hear().await.unwrap().answers(7, 0x04));
    assert_eq!(client.bind(TRANSCEIVER, "usee", "pass").await, 0x0F);
    assert_eq!(client.bind(TRANSCEIVER, "user", "past").await, 0x0E);
    assert_eq!(client.bind(TRANSCEIVER, "user", "pass").await, 0);
    assert_eq!(client.bind(TRANSCEIVER, "user", "pass").await, 0x05);
    client.say(0x103, 8, b"").await;
    assert_eq!(client.hear().await.unwrap().status, 0x03);
    client.submit(9, "12", b"x").await;
    assert!(client.hear().await.unwrap().answers(9, 0x0B));
    client.0.write_all(&[0, 0, 0, 3]).await.unwrap();
    assert_eq!(client.hear().await.unwrap().status, 0x02);
    assert_eq!(client.hear().await, None, "after a wrong length nothing can be read");
    assert_eq!(smsc.tally().counts().messages, 0);
}

#[tokio::test]
async fn long_messages_are_counted_whole() {
    let smsc = start(Options::default()).await;
    let mut client = Client::bound(smsc.addr(), TRANSMITTER).await;
    let part = |number: u8, text: &str| [&[5, 0, 3, 176, 2, number], text.as_bytes()].concat();
    client.say(SUBMIT, 2, &submit("8613800000001", 0x40, &part(2, " world"))).await;
    client.hear().await.unwrap();
    assert_eq!((smsc.tally().counts().messages, smsc.unfinished()), (0, 1));
    client.say(SUBMIT, 3, &submit("8613800000001", 0x40, &part(1, "hello"))).await;
    client.hear().await.unwrap();
    let message = smsc.tally().newest().remove(0);
    assert_eq!((&*message.text, message.ids.len(), smsc.unfinished()), ("hello world", 2, 0));
    // The same by sar_msg_ref_num, sar_total_segments and sar_segment_seqnum.
    for number in [1, 2] {
        let tlvs = [2, 0x0C, 0, 2, 0, 9, 2, 0x0E, 0, 1, 2, 2, 0x0F, 0, 1, number];
        client.say(SUBMIT, 4, &[submit("8613800000001", 0, b"ab"), tlvs.to_vec()].concat()).await;
        client.hear().await.unwrap();
    }
    assert_eq!(smsc.tally().newest()[1].text, "abab");
    assert_eq!((smsc.submitted(), smsc.tally().to("8613800000001")), (4, 2));
}

#[tokio::test]
async fn answers_overtake_each_other_and_may_throttle() {
    let rules =
        vec![Rule::nth(1).wait(Duration::from_millis(500)), Rule::to("8613800000002").code("0x58").times(1)];
    let smsc = start(Options { rules, window: 2, ..Options::default() }).await;
    let mut client = Client::bound(smsc.addr(), TRANSMITTER).await;
    client.submit(11, "8613800000001", b"slow").await;
    client.submit(12, "8613800000002", b"x").await;
    assert!(client.hear().await.unwrap().answers(12, 0x58));
    client.submit(13, "8613800000002", b"x").await;
    assert!(client.hear().await.unwrap().answers(13, 0), "once only");
    assert!(client.hear().await.unwrap().answers(11, 0));

    let rules = vec![Rule::always().wait(Duration::from_millis(500))];
    let smsc = start(Options { rules, window: 2, ..Options::default() }).await;
    let mut client = Client::bound(smsc.addr(), TRANSMITTER).await;
    for sequence in 11..=13 {
        client.submit(sequence, "8613800000001", b"x").await;
    }
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.hear().await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [0, 0, 0x58], "the third is beyond the window");

    let smsc = start(Options { qps: Some(0.000_1), ..Options::default() }).await;
    let mut client = Client::bound(smsc.addr(), TRANSMITTER).await;
    client.submit(1, "8613800000001", b"x").await;
    client.submit(2, "8613800000001", b"x").await;
    assert!(client.hear().await.unwrap().answers(1, 0));
    assert!(client.hear().await.unwrap().answers(2, 0x58));
}

#[tokio::test]
async fn connections_are_cut_before_and_after_a_message_is_taken() {
    let rules = vec![Rule::nth(1).cut_before(), Rule::nth(2).cut_after()];
    let smsc = start(Options { rules, ..Options::default() }).await;
    for taken in [0, 1] {
        let mut client = Client::bound(smsc.addr(), TRANSMITTER).await;
        client.submit(2, "8613800000001", b"x").await;
        assert_eq!(client.hear().await, None);
        assert_eq!(smsc.tally().to("8613800000001"), taken);
    }
    let mut client = Client::bound(smsc.addr(), TRANSMITTER).await;
    smsc.cut();
    assert_eq!(client.hear().await, None);
}

#[tokio::test]
async fn a_receipt_that_is_not_answered_comes_again_on_another_connection() {
    let rules = vec![Rule::to("8613800000002").receipt("EXPIRED"), Rule::to("8613800000003").receipt("027")];
    let options =
        Options { rules, receipts: soon(), ids: Ids::HexThenDecimal, tlvs: false, ..Options::default() };
    let smsc = start(options).await;
    let mut client = Client::bound(smsc.addr(), TRANSCEIVER).await;
    for number in 1..=10 {
        client.submit(number, &format!("861380000000{}", number % 10), b"x").await;
    }
    let (mut ids, mut receipts) = (Vec::new(), 0);
    while ids.len() < 10 || receipts < 10 {
        let pdu = client.hear().await.unwrap();
        if pdu.command == DELIVER {
            receipts += 1;
        } else {
            ids.push(pdu.id());
        }
    }
    assert_eq!(ids[9], "0000000A");
    drop(client);
    let mut client = Client::bound(smsc.addr(), 1).await;
    let mut told = Vec::new();
    for _ in 0..10 {
        let receipt = client.hear().await.unwrap();
        assert_eq!(receipt.command, DELIVER);
        client.say(DELIVER | ANSWER, receipt.sequence, b"\0").await;
        told.push(receipt);
    }
    smsc.settled(|counts| counts.taken == 10).await;
    let said = |text: &str| told.iter().filter(|receipt| receipt.holds(text)).count();
    assert_eq!(said("id:0000000010 "), 1, "in decimal now");
    assert_eq!(
        (said("stat:DELIVRD err:000"), said("stat:EXPIRED err:000"), said("stat:UNDELIV err:027")),
        (8, 1, 1)
    );
    assert_eq!(said("\0\x1e\0\x0b"), 0, "without TLVs");
}

#[tokio::test]
async fn replies_come_and_the_deaf_say_nothing() {
    let smsc = start(Options { enquire: Some(Duration::from_millis(5)), ..Options::default() }).await;
    let mut client = Client::bound(smsc.addr(), TRANSCEIVER).await;
    let enquiry = client.hear().await.unwrap();
    assert_eq!(enquiry.command, ENQUIRE);
    client.say(ENQUIRE | ANSWER, enquiry.sequence, b"").await;
    let hear_reply = async {
        loop {
            let pdu = client.hear().await.unwrap();
            if pdu.command == DELIVER {
                client.say(DELIVER | ANSWER, pdu.sequence, b"\0").await;
                return (pdu, client);
            }
        }
    };
    let (took, (reply, mut client)) = tokio::join!(smsc.reply("8613800000001", "SHOP", "TD"), hear_reply);
    assert!(took && reply.holds("8613800000001\0") && reply.holds("TD"));
    smsc.deafen(true);
    client.submit(5, "8613800000001", b"x").await;
    smsc.tally().received(1).await;
    smsc.cut();
    let mut rest = Vec::new();
    while let Some(pdu) = client.hear().await {
        rest.push(pdu);
    }
    assert!(!rest.iter().any(|pdu| pdu.command == SUBMIT | ANSWER), "{rest:?}");
}
