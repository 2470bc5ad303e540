//! Rendering the recipients of one intent, as they are now.

use jiff::Timestamp;
use tokio::time::Instant;

use super::campaigns::Campaign;
use super::prepared::Held;
use super::stream::Shared;
use crate::model::content::{Content, SmsContent};
use crate::model::job;
use crate::model::{DeliveryKey, Outcome, Purpose, Reason};
use crate::render::{self, RenderError, Renderer, Tracking};
use crate::store::dispatching::Recipient;

pub(super) struct Rendering<'a> {
    shared: &'a Shared,
    campaign: &'a Campaign,
    renderer: Result<Renderer<'a>, RenderError>,
    tracked: job::Tracking,
    /// The message's own `expires_at` has passed.
    expired: bool,
    /// The only provider that may carry it, where the configuration has it no more.
    lost_provider: Option<String>,
    /// It is in doubt, and there is no attempt or no time left to send it again.
    too_late: bool,
}

#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub(super) content: Option<Content>,
    pub(super) unsubscribe: Option<String>,
}

impl<'a> Rendering<'a> {
    pub(super) fn new(shared: &'a Shared, held: &'a Held, campaign: &'a Campaign, now: Timestamp) -> Self {
        let options = held.lease.options.as_deref();
        let named = held.lease.account(&campaign.sending);
        let lost = named.filter(|name| shared.accounts.iter().all(|account| *account.name != **name));
        let ended = shared.retry.delay(held.lease.attempt, None, 0.5).is_none();
        let too_late = held.lease.doubt.as_ref().is_some_and(|doubt| ended || doubt.resend.until <= now);
        Rendering {
            lost_provider: lost.map(str::to_owned),
            too_late,
            shared,
            campaign,
            renderer: campaign.template.renderer(campaign.sending.channel, &campaign.sending.data),
            tracked: options.map_or(campaign.sending.tracking, |options| options.tracking),
            expired: options.and_then(|options| options.expires_at).is_some_and(|at| at <= now),
        }
    }

    /// # Errors
    /// What becomes of a recipient who must not, or cannot, get the message.
    pub(super) fn render(&mut self, recipient: &Recipient, key: DeliveryKey) -> Result<Rendered, Outcome> {
        if let Some(reason) = recipient.excluded {
            return Err(Outcome::Excluded { reason });
        }
        if self.expired {
            return Err(Outcome::Expired);
        }
        if self.too_late {
            return Err(Outcome::Failed { reason: Reason::RetriesExhausted, detail: String::new() });
        }
        if let Some(name) = &self.lost_provider {
            let detail = format!("the configuration has no provider `{name}` on this channel any more");
            return Err(Outcome::Failed { reason: Reason::NoProvider, detail });
        }
        let started = Instant::now();
        let tracking = Tracking {
            keyring: &self.shared.keyring,
            delivery: key,
            public_url: &self.shared.public_url,
            opens: self.tracked.opens,
            clicks: self.tracked.clicks,
            links: &self.campaign.links,
        };
        let who = render::Recipient {
            external_id: &recipient.external_id,
            locale: recipient.locale.as_deref(),
            timezone: recipient.timezone.as_deref(),
            attributes: &recipient.attributes,
            own_data: recipient.own_data.as_ref(),
        };
        let content = match &mut self.renderer {
            Ok(renderer) => renderer.render(&who, &tracking),
            Err(error) => Err(error.clone()),
        };
        let content = content.map_err(|error| {
            self.shared.metrics.render_errors.with_label_values(&[error.kind()]).inc();
            Outcome::Failed { reason: Reason::RenderError, detail: error.to_string() }
        })?;
        self.shared.metrics.render_duration.observe(started.elapsed().as_secs_f64());
        if let Content::Sms(SmsContent { text: Some(text), .. }) = &content
            && let Some(breach) = self.shared.rules.breach(text, self.campaign.sending.purpose)
        {
            return Err(Outcome::Failed { reason: breach.reason(), detail: breach.to_string() });
        }
        let marketing = self.campaign.sending.purpose == Purpose::Marketing;
        Ok(Rendered { content: Some(content), unsubscribe: marketing.then(|| tracking.unsubscribe_url()) })
    }
}
