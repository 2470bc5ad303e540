//! One chunk of messages over a bind: what leaves, what is answered, and what became of each message.
//!
//! A message is in doubt from the moment that all bytes of one of its parts are with the socket, until that part is
//! answered. Of a message in several parts that was taken in part, the refused rest is tried again: nothing that was
//! taken is ever sent again.

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::sleep;

use super::account::Account;
use super::parts::Sending;
use super::pdu::{Address, Submit};
use super::status;
use super::text::{Encoded, encoded};
use super::wire::{Answer, Wire};
use crate::config::Codes;
use crate::model::content::SmsContent;
use crate::model::{Content, Outcome, Reason};
use crate::provider::{Body, Message};

/// How often the refused rest of a message is tried again, a second apart.
const REPAIRS: usize = 3;

enum Part {
    /// Certainly not with the provider.
    Unsent,
    Waiting(oneshot::Receiver<Answer>),
    Taken(String),
    Refused(u32),
    Silent,
    Lost,
}

/// A message on its way.
struct Flight<'c> {
    message: &'c Message,
    to: Address,
    encoded: Encoded,
    parts: Vec<Part>,
    sending: Option<Sending<'c>>,
}

/// PDUs that leave in one write, in order: where each ends, and whose it is.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    end: usize,
    sequence: u32,
    flight: usize,
    part: usize,
}

pub(super) struct Transfer<'c> {
    account: &'c Account,
    wire: &'c Wire,
    flights: Vec<Flight<'c>>,
    batch: Batch,
}

/// Hands the messages over in order; one outcome a message.
pub(super) async fn transfer(account: &Account, wire: &Wire, messages: &[Message]) -> Vec<Outcome> {
    let mut transfer =
        Transfer { account, wire, flights: Vec::with_capacity(messages.len()), batch: Batch::default() };
    // Flights by the messages' order; what never flies has its outcome at once.
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(messages.len());
    for message in messages {
        if wire.is_retired() || wire.is_throttled() {
            break;
        }
        match transfer.take_off(message) {
            Ok(flight) => {
                outcomes.push(None);
                transfer.submit(flight).await;
            }
            Err(outcome) => outcomes.push(Some(outcome)),
        }
    }
    transfer.land().await;
    transfer.repair().await;
    let mut landed = transfer.outcomes().into_iter();
    let mut outcomes: Vec<Outcome> = outcomes
        .into_iter()
        .map(|outcome| outcome.or_else(|| landed.next()).unwrap_or(Outcome::Returned))
        .collect();
    for receipt in account.parts.released() {
        account.receipts.bring(receipt).await;
    }
    outcomes.resize(messages.len(), Outcome::Returned);
    outcomes
}

impl<'c> Transfer<'c> {
    /// The number of the message's flight, or why it stays on the ground.
    fn take_off(&mut self, message: &'c Message) -> Result<usize, Outcome> {
        let failed =
            |detail: &str| Outcome::Failed { reason: Reason::RenderError, detail: detail.to_owned() };
        let Body::Content(Content::Sms(SmsContent { text: Some(text), .. })) = &message.body else {
            return Err(failed("the template has no `text` for SMS, which is what SMPP carries"));
        };
        let encoded = encoded(text, self.account.next_reference())
            .ok_or_else(|| failed("the text needs more than 255 parts"))?;
        let parts: Vec<Part> = encoded.parts.iter().map(|_| Part::Unsent).collect();
        let sending = (parts.len() > 1).then(|| self.account.parts.sending());
        let to = Address::international(&message.to);
        self.flights.push(Flight { message, to, encoded, parts, sending });
        Ok(self.flights.len() - 1)
    }

    /// Puts all unsent parts of a flight on their way, as there is room in the window. They leave together: a
    /// connection that ends tears no message apart whose parts the window has room for.
    async fn submit(&mut self, number: usize) {
        loop {
            let Some(flight) = self.flights.get(number) else { return };
            let unsent: Vec<usize> = (0..flight.parts.len()).filter(|part| flight.is_unsent(*part)).collect();
            if unsent.is_empty() {
                return;
            }
            let Some(mut slots) = self.slots(number, unsent.len()).await else { return };
            for part in unsent {
                let Some(slot) = slots.split(1) else { break };
                if self.register(number, part, slot).is_none() {
                    return;
                }
            }
        }
    }

    async fn slots(&mut self, number: usize, wanted: usize) -> Option<OwnedSemaphorePermit> {
        if let Some(slots) = self.wire.try_slots(wanted) {
            return Some(slots);
        }
        // What waits here may be what the window waits for.
        self.flush().await;
        let slots = self.wire.slots(wanted).await?;
        (!self.wire.is_throttled() || !self.is_untouched(number)).then_some(slots)
    }

    /// `None` where nothing more is submitted.
    fn register(&mut self, number: usize, part: usize, slot: OwnedSemaphorePermit) -> Option<()> {
        let flight = self.flights.get_mut(number)?;
        let has_header = flight.parts.len() > 1;
        let (state, content) = flight.parts.get_mut(part).zip(flight.encoded.parts.get(part))?;
        let registered = self.wire.register(slot)?;
        let submit = Submit {
            source: &self.account.source,
            destination: &flight.to,
            has_header,
            data_coding: flight.encoded.data_coding,
            content,
        };
        submit.pdu(registered.sequence).write(&mut self.batch.bytes);
        *state = Part::Waiting(registered.answer);
        let (end, sequence) = (self.batch.bytes.len(), registered.sequence);
        self.batch.entries.push(Entry { end, sequence, flight: number, part });
        Some(())
    }

    fn is_untouched(&self, number: usize) -> bool {
        let untouched = |flight: &Flight<'_>| flight.parts.iter().all(|part| matches!(part, Part::Unsent));
        self.flights.get(number).is_some_and(untouched)
    }

    async fn flush(&mut self) {
        let Batch { bytes, entries } = std::mem::take(&mut self.batch);
        if entries.is_empty() {
            return;
        }
        let handed = match self.wire.write_all(&bytes).await {
            Ok(()) => bytes.len(),
            Err(broken) => broken.handed,
        };
        for entry in entries {
            let Some(flight) = self.flights.get_mut(entry.flight) else { continue };
            if entry.end <= handed {
                flight.message.permit.spend();
            } else if let Some(part) = flight.parts.get_mut(entry.part) {
                self.wire.forget(entry.sequence);
                *part = Part::Unsent;
            }
        }
    }

    /// Waits until everything that left is answered, given up or lost.
    async fn land(&mut self) {
        self.flush().await;
        for part in self.flights.iter_mut().flat_map(|flight| &mut flight.parts) {
            if let Part::Waiting(answer) = part {
                *part = match answer.await {
                    Ok(Answer::Taken(id)) => Part::Taken(id),
                    Ok(Answer::Refused(status)) => Part::Refused(status),
                    Ok(Answer::Silent) => Part::Silent,
                    Err(_) => Part::Lost,
                };
            }
        }
    }

    /// Tries the refused parts of messages again whose other parts were taken.
    async fn repair(&mut self) {
        let codes = &self.account.settings.codes;
        for _ in 0..REPAIRS {
            let torn: Vec<usize> =
                (0..self.flights.len()).filter(|number| self.flights[*number].is_torn(codes)).collect();
            if torn.is_empty() || self.wire.is_retired() {
                return;
            }
            sleep(status::REST).await;
            for number in torn {
                for part in &mut self.flights[number].parts {
                    if matches!(part, Part::Refused(_)) {
                        *part = Part::Unsent;
                    }
                }
                self.submit(number).await;
            }
            self.land().await;
        }
    }

    fn outcomes(self) -> Vec<Outcome> {
        let account = self.account;
        self.flights.into_iter().map(|flight| flight.outcome(account)).collect()
    }
}

impl Flight<'_> {
    fn is_unsent(&self, part: usize) -> bool {
        matches!(self.parts.get(part), Some(Part::Unsent))
    }

    /// Taken in part, and the rest may be taken in a moment.
    fn is_torn(&self, codes: &Codes) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Taken(_)))
            && self.parts.iter().any(|part| matches!(part, Part::Refused(_)))
            && self.parts.iter().all(|part| match part {
                Part::Taken(_) => true,
                Part::Refused(status) => status::is_passing(codes, *status),
                _ => false,
            })
    }

    fn outcome(self, account: &Account) -> Outcome {
        let total = self.parts.len();
        let (mut ids, mut taken, mut refused, mut doubt) = (Vec::new(), 0, None, None);
        for (number, part) in (1..).zip(self.parts) {
            match part {
                Part::Taken(id) => {
                    taken += 1;
                    ids.extend(account.ids().of_answer(&id));
                }
                Part::Refused(status) => refused = refused.or(Some((number, status))),
                Part::Silent => doubt = doubt.or(Some(Reason::NoAnswer)),
                Part::Lost | Part::Waiting(_) => doubt = doubt.or(Some(Reason::ConnectionLost)),
                Part::Unsent => {}
            }
        }
        let unknown = |reason, detail: String| Outcome::Unknown { reason, detail };
        match (doubt, refused) {
            (Some(reason @ Reason::NoAnswer), _) => {
                let wait = account.settings.timeout.as_secs();
                unknown(reason, format!("no answer to submit_sm within {wait} s"))
            }
            (Some(reason), _) => unknown(reason, "the connection ended before submit_sm was answered".into()),
            (None, None) if taken == total => {
                let provider_ref = (!ids.is_empty()).then(|| ids.join(" "));
                if let Some(sending) = self.sending {
                    sending.taken(ids);
                }
                Outcome::Accepted { provider_ref }
            }
            (None, _) if taken == 0 => {
                let codes = &account.settings.codes;
                refused.map_or(Outcome::Returned, |(_, why)| status::refused(codes, why, Timestamp::now()))
            }
            // To send it again would double what was taken, to call it rejected would deny that.
            (None, Some((number, why))) => unknown(
                Reason::NoAnswer,
                format!(
                    "part {number} of {total} was refused after others were taken: {}",
                    status::named(why)
                ),
            ),
            (None, None) => unknown(
                Reason::ConnectionLost,
                format!("the connection ended after {taken} of {total} parts were taken"),
            ),
        }
    }
}
