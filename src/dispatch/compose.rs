//! From rendered content to what a provider takes: here the account's own words join, such as the sender.

use jiff::Timestamp;

use crate::model::{DeliveryKey, Purpose};
use crate::provider::{Body, Email, Message, Permit};
use crate::render::content::Content;
use crate::render::mime::{self, Headers, InvalidHeader, Mailbox};

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
}

/// Why a message cannot be put into its provider's format.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    #[error("no provider of this channel takes such a message")]
    Channel,
}

/// What stands beside the content.
#[derive(Debug, Clone, Copy)]
pub struct Labels<'a> {
    pub delivery: DeliveryKey,
    pub campaign: &'a str,
    pub purpose: Purpose,
    pub attempt: u16,
    pub to: &'a str,
    pub unsubscribe: Option<&'a str>,
}

/// # Errors
/// When the content cannot stand in a message: the delivery fails as a render error.
pub fn compose(content: &Content, sender: &EmailSender, labels: Labels<'_>) -> Result<Message, ComposeError> {
    let Content::Email(email) = content else { return Err(ComposeError::Channel) };
    let DeliveryKey { campaign, contact, occurrence } = labels.delivery;
    let domain = sender.from.address().rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    let message_id = format!("{campaign}.{contact}.{occurrence}@{domain}");
    let marketing = labels.purpose == Purpose::Marketing;
    let feedback_id = format!("{campaign}:{}:campaignd:{domain}", labels.purpose);
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
        },
    )?;
    let envelope_from = sender.return_path.clone().unwrap_or_else(|| sender.from.address().to_owned());
    Ok(Message {
        delivery: labels.delivery,
        attempt: labels.attempt,
        body: Body::Email(Email { envelope_from, envelope_to: labels.to.to_owned(), content }),
        permit: Permit::default(),
    })
}
