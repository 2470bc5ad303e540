//! From rendered content to what a provider takes: here the account's own words join, such as the sender.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::content::EmailContent;
use crate::model::{Content, DeliveryKey, Purpose};
use crate::provider::mailhook::Label;
use crate::provider::{Body, Email, Message, Permit};
use crate::render::mime::{self, Headers, InvalidHeader, Mailbox};

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
    /// The envelope's sender, where bounces go; the sender's address where absent.
    pub return_path: Option<String>,
    /// RFC 2919.
    pub list_id: Option<String>,
    pub unsubscribe_mailto: Option<String>,
    /// For the e-mail service behind the relay.
    pub label: Option<Label>,
}

/// Why a message cannot be put into its provider's format.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(transparent)]
    Header(#[from] InvalidHeader),
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
    pub to: &'a str,
    pub unsubscribe: Option<&'a str>,
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

fn mail(email: &EmailContent, sender: &EmailSender, labels: Labels<'_>) -> Result<Email, InvalidHeader> {
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
            date: Timestamp::now(),
            list_id: sender.list_id.as_deref().filter(|_| marketing),
            feedback_id: Some(&feedback_id),
            unsubscribe: labels.unsubscribe,
            unsubscribe_mailto: sender.unsubscribe_mailto.as_deref().filter(|_| marketing),
            bulk: marketing,
            service: &service,
        },
    )?;
    let envelope_from = sender.return_path.clone().unwrap_or_else(|| sender.from.address().to_owned());
    Ok(Email { envelope_from, envelope_to: labels.to.to_owned(), content })
}
