//! From rendered content to what a provider takes: here the account's own words join, such as the sender.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::content::EmailContent;
use crate::model::{Content, DeliveryKey, Purpose};
use crate::provider::mailhook::Label;
use crate::provider::{Body, Email, Message, Permit};
use crate::render::dkim::{self, Signer, Unsigned};
use crate::render::mime::{self, Headers, InvalidHeader, Mailbox};
use crate::token::Keyring;

/// What the local part of an address for bounces begins with.
const VERP: &str = "bounce+";

/// What an account takes.
#[derive(Debug, Clone)]
pub enum Format {
    /// Mail as it travels, with the account's sender on it.
    Mime(Arc<EmailSender>),
    /// The content; the provider puts it into a format of its own.
    Content,
}

/// Whose name stands on an account's e-mails.
#[derive(Debug, Clone)]
pub struct EmailSender {
    pub from: Mailbox,
    pub reply_to: Option<Mailbox>,
    pub return_path: ReturnPath,
    /// RFC 2919.
    pub list_id: Option<String>,
    pub unsubscribe_mailto: Option<String>,
    /// For the e-mail service behind the relay.
    pub label: Option<Label>,
    /// A signature each.
    pub dkim: Arc<[Signer]>,
}

/// The envelope's sender: where bounces go.
#[derive(Debug, Clone)]
pub enum ReturnPath {
    /// The address that the account's messages are from.
    From,
    Address(String),
    /// `bounce+TOKEN@domain`, an address a message: its bounces say by themselves whose they are.
    Verp {
        domain: String,
    },
}

/// Why a message cannot be put into its provider's format.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    #[error("a relay for mail takes no other message")]
    Channel,
}

/// What stands beside the content.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    pub delivery: DeliveryKey,
    pub campaign: &'a Arc<str>,
    pub purpose: Purpose,
    pub attempt: u16,
    /// What an e-mail is dated.
    pub at: Timestamp,
    pub to: &'a str,
    pub unsubscribe: Option<&'a str>,
    /// Mints the address that bounces go to.
    pub keyring: &'a Keyring,
}

/// # Errors
/// When the content cannot stand in a message: the delivery fails as a render error.
pub fn compose(content: Content, format: &Format, labels: Labels<'_>) -> Result<Message, ComposeError> {
    let body = match (format, content) {
        (Format::Content, content) => Body::Content(content),
        (Format::Mime(sender), Content::Email(email)) => Body::Email(mail(&email, sender, labels)?),
        (Format::Mime(_), _) => return Err(ComposeError::Channel),
    };
    Ok(Message {
        delivery: labels.delivery,
        attempt: labels.attempt,
        campaign: labels.campaign.clone(),
        purpose: labels.purpose,
        to: labels.to.to_owned(),
        unsubscribe: labels.unsubscribe.map(str::to_owned),
        body,
        permit: Permit::default(),
    })
}

fn mail(email: &EmailContent, sender: &EmailSender, labels: Labels<'_>) -> Result<Email, ComposeError> {
    let DeliveryKey { campaign, contact, occurrence } = labels.delivery;
    let domain = sender.from.address().rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let message_id = format!("{campaign}.{contact}.{occurrence}@{domain}");
    let marketing = labels.purpose == Purpose::Marketing;
    let feedback_id = format!("{campaign}:{}:campaignd:{domain}", labels.purpose);
    let service = sender.label.as_ref().map(|label| label.headers(labels.delivery)).unwrap_or_default();
    let content = mime::message(
        email,
        &Headers {
            from: &sender.from,
            reply_to: sender.reply_to.as_ref(),
            to: labels.to,
            to_name: None,
            message_id: &message_id,
            date: labels.at,
            list_id: sender.list_id.as_deref().filter(|_| marketing),
            feedback_id: Some(&feedback_id),
            unsubscribe: labels.unsubscribe,
            unsubscribe_mailto: sender.unsubscribe_mailto.as_deref().filter(|_| marketing),
            bulk: marketing,
            service: &service,
        },
    )?;
    let content = dkim::sign(content, &sender.dkim, labels.at)?;
    let envelope_from = match &sender.return_path {
        ReturnPath::From => sender.from.address().to_owned(),
        ReturnPath::Address(address) => address.clone(),
        ReturnPath::Verp { domain } => {
            let mut address = String::from(VERP);
            labels.keyring.mint_bounce(labels.delivery, &mut address);
            address.push('@');
            address.push_str(domain);
            address
        }
    };
    Ok(Email { envelope_from, envelope_to: labels.to.to_owned(), content })
}
