//! One message for one contact outside of any campaign: what `preview` shows and `send-test` sends.
//!
//! Its delivery is of campaign 0, which is never planned: its tokens work, and no report counts them.

use anyhow::{Context, anyhow};
use clap::Args;

use super::exit::Failure;
use super::job_data;
use super::session::Session;
use crate::app;
use crate::config::Config;
use crate::model::{CampaignNo, Channel, ContactNo, Content, DeliveryKey, LinkNo};
use crate::render::{Recipient, Registry, Template, Tracking};
use crate::store::contacts::ContactRecord;
use crate::token::Keyring;

/// Which message, for whom.
#[derive(Debug, Args)]
pub(super) struct Subject {
    /// The template's folder
    pub(super) template: String,
    /// The contact whose data it takes: an external id, or an address of theirs
    #[arg(long, value_name = "ID")]
    pub(super) contact: String,
    /// The job's data: a JSON object, or a file that holds one
    #[arg(long, value_name = "FILE|JSON")]
    pub(super) data: Option<String>,
}

/// A message as the contact would get it.
pub(super) struct Rendered {
    pub(super) contact: ContactRecord,
    pub(super) content: Content,
    pub(super) delivery: DeliveryKey,
    pub(super) unsubscribe_url: String,
    pub(super) keyring: Keyring,
}

impl Subject {
    /// The template, compiled.
    ///
    /// # Errors
    /// Where any template is wrong (exit code 64), or none has this name (1).
    pub(super) fn template(&self, config: &Config) -> Result<std::sync::Arc<Template>, Failure> {
        let dir = &config.templates.dir;
        let registry = Registry::load(dir).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Failure::usage(anyhow!(lines.join("\n")))
        })?;
        registry.get(&self.template).ok_or_else(|| {
            let names: Vec<&str> = registry.names().collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            anyhow!("there is no template `{}` in {}; there: {there}", self.template, dir.display()).into()
        })
    }

    /// # Errors
    /// Where contact or data are missing, or the template finds something missing in them.
    pub(super) async fn render(
        &self,
        session: &Session,
        template: &Template,
        channel: Channel,
        tracked: bool,
    ) -> Result<Rendered, Failure> {
        let data = job_data::read(self.data.as_deref())?;
        let contact = session.contact(&self.contact).await?;
        let keyring = app::keyring(&*session.store).await?;
        let delivery = test_delivery();
        let count = u16::try_from(template.links().len()).unwrap_or(u16::MAX);
        let links: Vec<LinkNo> = (0..count).map(LinkNo).collect();
        let tracking = Tracking {
            keyring: &keyring,
            delivery,
            public_url: &session.config.http.public_url,
            opens: tracked,
            clicks: tracked,
            links: &links,
        };
        let recipient = Recipient {
            external_id: &contact.external_id,
            locale: contact.locale.as_deref(),
            timezone: contact.timezone.as_deref(),
            attributes: &contact.attributes,
            own_data: None,
        };
        let content = template
            .renderer(channel, &data)
            .and_then(|mut renderer| renderer.render(&recipient, &tracking))
            .with_context(|| format!("template `{}`", self.template))?;
        let unsubscribe_url = tracking.unsubscribe_url();
        Ok(Rendered { contact, content, delivery, unsubscribe_url, keyring })
    }
}

/// Of no campaign and no contact; the occurrence tells two test messages apart.
fn test_delivery() -> DeliveryKey {
    DeliveryKey { campaign: CampaignNo(0), contact: ContactNo(0), occurrence: fastrand::i64(1..) }
}
