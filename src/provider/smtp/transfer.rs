//! Messages over one open connection, in order, as few round trips as the server allows.
//!
//! With PIPELINING (RFC 2920) a message's envelope travels in the same write as the content before it: one round trip
//! a message. Promises that every reply lands on its own message, that no lone dot is ever sent, and that a message is
//! in doubt only from the moment when a byte of its final CRLF.CRLF was handed to the socket or to TLS.

use super::classify::{Stage, detail, provider_ref, refused};
use super::command::{Envelope, push_content, refusal};
use super::config::Timeouts;
use super::connection::Connection;
use super::reply::{NoReply, Reply};
use super::wire::Broken;
use crate::model::{Outcome, Reason};
use crate::provider::{Body, Email, Message, Permit};

/// What can be done with the connection afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The next message may follow.
    Idle,
    /// Of no more use by our own choice; another one will do.
    Spent,
    /// The server broke off or asked us to go: not the moment to dial again.
    Lost,
}

/// A message that this protocol can carry.
#[derive(Clone, Copy)]
struct Letter<'m> {
    email: &'m Email,
    permit: &'m Permit,
}

/// What the envelope came to.
enum Opened {
    /// 354: the server waits for the content.
    Go,
    Refused(Outcome, Ended),
}

/// Buffers that live as long as the session.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    envelope: Envelope,
    output: Vec<u8>,
}

/// Kept between messages; one huge message does not hold its memory for ever.
const OUTPUT_KEPT: usize = 256 << 10;

pub(super) struct Transfer<'a> {
    connection: &'a mut Connection,
    buffers: &'a mut Buffers,
    timeouts: &'a Timeouts,
    /// The envelope of the message whose turn it is was written with the content before it.
    ahead: bool,
    /// The server answered anything but 421 since the run began.
    answered: bool,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        buffers: &'a mut Buffers,
        timeouts: &'a Timeouts,
    ) -> Self {
        Transfer { connection, buffers, timeouts, ahead: false, answered: false }
    }

    /// Fills the outcomes that are still open, in order, for at most `room` messages. Those that stay open were never
    /// begun, or the server ended an idle connection under them: they can be sent again at no cost.
    pub(super) async fn run(
        &mut self,
        messages: &[Message],
        outcomes: &mut [Option<Outcome>],
        room: u32,
    ) -> Ended {
        let mut queue = Vec::with_capacity(messages.len());
        for (index, (message, outcome)) in messages.iter().zip(outcomes.iter_mut()).enumerate() {
            if outcome.is_some() {
                continue;
            }
            let Body::Email(email) = &message.body else {
                let detail = "an SMTP relay takes complete mails only".to_owned();
                *outcome = Some(Outcome::Failed { reason: Reason::RenderError, detail });
                continue;
            };
            *outcome = refusal(email, &self.connection.extensions);
            if outcome.is_none() {
                queue.push((index, Letter { email, permit: &message.permit }));
            }
        }
        queue.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        for (place, (index, letter)) in queue.iter().enumerate() {
            let next = queue.get(place + 1).map(|(_, letter)| *letter);
            if !self.ahead && !letter.permit.good_for(letter.permit.cells()).await {
                queue[place..].iter().for_each(|(index, _)| outcomes[*index] = Some(Outcome::Returned));
                break;
            }
            let (outcome, ended) = self.one(*letter, next).await;
            outcomes[*index] = outcome;
            if ended != Ended::Idle {
                return ended;
            }
        }
        self.buffers.output.clear();
        self.buffers.output.shrink_to(OUTPUT_KEPT);
        Ended::Idle
    }

    async fn one(&mut self, letter: Letter<'_>, next: Option<Letter<'_>>) -> (Option<Outcome>, Ended) {
        let reused = self.connection.messages > 0;
        self.connection.messages += 1;
        match self.open(letter).await {
            Ok(Opened::Go) => {
                let (outcome, ended) = self.content(letter.email, next).await;
                (Some(outcome), ended)
            }
            // The server ended an idle connection just now, as it may: no fault of this message.
            Ok(Opened::Refused(_, Ended::Lost)) | Err(_) if reused && !self.answered => (None, Ended::Spent),
            Ok(Opened::Refused(outcome, ended)) => (Some(outcome), ended),
            Err(_) if reused => (None, Ended::Lost),
            Err(broken) => (Some(not_taken(broken.to_string())), Ended::Lost),
        }
    }

    /// MAIL, RCPT and DATA, behind the RSET that an earlier refusal calls for.
    async fn open(&mut self, letter: Letter<'_>) -> Result<Opened, Broken> {
        let Buffers { envelope, output } = &mut *self.buffers;
        let reset = std::mem::take(&mut self.connection.needs_reset);
        let pipelining = self.connection.extensions.pipelining;
        if !std::mem::take(&mut self.ahead) {
            envelope.set(letter.email, &self.connection.extensions);
            output.clear();
            if reset {
                output.extend_from_slice(b"RSET\r\n");
            }
            if pipelining {
                output.extend_from_slice(envelope.all());
            }
            self.connection.wire.write(output, &mut 0, self.timeouts.command).await?;
            if pipelining {
                letter.permit.spend();
            }
        }
        if reset && !self.reply().await?.is_positive() {
            return Err(Broken::Nonsense(NoReply));
        }
        let mut refusal: Option<Outcome> = None;
        for (number, stage) in [Stage::Mail, Stage::Rcpt, Stage::Data].into_iter().enumerate() {
            if !pipelining {
                let command = self.buffers.envelope.each()[number];
                self.connection.wire.write(command, &mut 0, self.timeouts.command).await?;
                letter.permit.spend();
            }
            let reply = self.reply().await?;
            let go = stage == Stage::Data && reply.code == 354;
            if reply.is_refusal() {
                let outcome = refusal.take().unwrap_or_else(|| refused(&reply, stage));
                if reply.code == 421 {
                    return Ok(Opened::Refused(outcome, Ended::Lost));
                }
                refusal = Some(outcome);
                if !pipelining {
                    break;
                }
            } else if go && let Some(outcome) = refusal.take() {
                // The server waits for content nobody is to get. A lone dot would send an empty mail: hang up.
                return Ok(Opened::Refused(outcome, Ended::Spent));
            } else if !go && (stage == Stage::Data || !reply.is_positive()) {
                return Err(Broken::Nonsense(NoReply));
            }
        }
        Ok(match refusal {
            Some(outcome) => {
                self.connection.needs_reset = true;
                Opened::Refused(outcome, Ended::Idle)
            }
            None => Opened::Go,
        })
    }

    async fn reply(&mut self) -> Result<Reply, Broken> {
        let reply = self.connection.wire.reply(self.timeouts.command).await?;
        self.answered |= reply.code != 421;
        Ok(reply)
    }

    /// The content up to its final dot, and the next envelope behind it where the server pipelines.
    async fn content(&mut self, email: &Email, next: Option<Letter<'_>>) -> (Outcome, Ended) {
        let Buffers { envelope, output } = &mut *self.buffers;
        output.clear();
        let end = push_content(&email.content, output);
        let next = next.filter(|next| self.connection.extensions.pipelining && next.permit.is_good());
        if let Some(next) = next {
            envelope.set(next.email, &self.connection.extensions);
            output.extend_from_slice(envelope.all());
            self.ahead = true;
        }
        let mut handed = 0;
        let wire = &mut self.connection.wire;
        let written = wire.write(output, &mut handed, self.timeouts.content).await;
        if let Some(next) = next {
            next.permit.spend();
        }
        let (reply, mut ended) = match written {
            Ok(()) => (wire.reply(self.timeouts.end).await, Ended::Idle),
            Err(broken) => (wire.reply_at_hand().ok_or(broken), Ended::Lost),
        };
        let in_doubt = handed > end;
        let outcome = match reply {
            Ok(reply) if reply.is_refusal() => {
                if reply.code == 421 {
                    ended = Ended::Lost;
                }
                refused(&reply, Stage::Data)
            }
            Ok(reply) if reply.is_positive() && in_doubt => {
                Outcome::Accepted { provider_ref: provider_ref(&reply) }
            }
            Ok(reply) => {
                ended = Ended::Lost;
                let detail = format!("the server's answer makes no sense here: {}", detail(&reply));
                if in_doubt {
                    Outcome::Unknown { reason: Reason::NoAnswer, detail }
                } else {
                    not_taken(detail)
                }
            }
            Err(broken) => {
                ended = Ended::Lost;
                let reason = match broken {
                    Broken::Lost(_) => Reason::ConnectionLost,
                    Broken::Silent(_) | Broken::Nonsense(_) => Reason::NoAnswer,
                };
                let detail = broken.to_string();
                if in_doubt { Outcome::Unknown { reason, detail } } else { not_taken(detail) }
            }
        };
        (outcome, ended)
    }
}

fn not_taken(detail: String) -> Outcome {
    Outcome::Retry { reason: Reason::ConnectionFailed, after: None, detail }
}
