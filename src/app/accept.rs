//! Accepting jobs: what needs the configuration or a template is checked here, then the store makes the job durable.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use tracing::error;

use super::rules::forms;
use crate::access;
use crate::config::{ChannelConfig, Config, ProviderConfig};
use crate::dispatch::LaneHandle;
use crate::intake::{Accept, StoreAway, Verdict};
use crate::model::access::Actor;
use crate::model::audit::{Action, Deed, Ending};
use crate::model::contact::Problem;
use crate::model::job::{InvalidJob, Job, ReadJob};
use crate::model::{Channel, Purpose};
use crate::render::{Registry, Template};
use crate::store::jobs::{Acceptance, Incarnation, PinnedTemplate, Submission};
use crate::store::{Error, Store};
use crate::telemetry::{Metrics, Outage};

#[derive(Debug)]
pub(super) struct Acceptor {
    store: Arc<dyn Store>,
    me: Incarnation,
    templates: Arc<ArcSwap<Registry>>,
    templates_dir: PathBuf,
    channels: BTreeMap<Channel, ChannelConfig>,
    providers: BTreeMap<String, ProviderConfig>,
    lanes: Vec<LaneHandle>,
    metrics: Arc<Metrics>,
    outage: Outage,
}

impl Acceptor {
    pub(super) fn new(
        config: &Config,
        store: Arc<dyn Store>,
        me: Incarnation,
        templates: Arc<ArcSwap<Registry>>,
        lanes: Vec<LaneHandle>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Acceptor {
            store,
            me,
            templates,
            templates_dir: config.templates.dir.clone(),
            channels: config.channels.clone(),
            providers: config.providers.clone(),
            lanes,
            metrics,
            outage: Outage::new("jobs"),
        }
    }

    /// A submission, or why the configuration or the templates forbid the job.
    fn submission(&self, read: ReadJob) -> Result<Submission, InvalidJob> {
        let (template, channel, purpose, provider) = match &read.job {
            Job::Campaign(job) => (&job.template, job.channel, job.purpose, job.provider.as_deref()),
            Job::Message(job) => (&job.template, job.channel, job.purpose, job.provider.as_deref()),
            Job::Contacts(_) | Job::Control(_) => {
                let (job, content_hash) = (read.job, read.content_hash);
                let (template, purpose_forbidden, apps) = (None, false, None);
                return Ok(Submission { job, content_hash, template, purpose_forbidden, apps });
            }
        };
        self.check_provider(channel, provider)?;
        let template = self.template(template, channel)?;
        self.check_rules(&template, channel, purpose, provider)?;
        let template = Some(pinned(&template)?);
        let apps = self.apps(channel, provider);
        let purpose_forbidden = self.forbids(channel, purpose);
        Ok(Submission { job: read.job, content_hash: read.content_hash, template, purpose_forbidden, apps })
    }

    /// The accounts that may carry a job: the one that it names, else the channel's.
    fn carriers<'a>(
        &'a self,
        channel: Channel,
        provider: Option<&'a str>,
    ) -> impl Iterator<Item = Option<&'a ProviderConfig>> {
        let listed = self.channels.get(&channel).filter(|_| provider.is_none());
        let listed = listed.into_iter().flat_map(|channel| channel.providers.iter().map(String::as_str));
        provider.into_iter().chain(listed).map(|name| self.providers.get(name))
    }

    /// The apps whose addresses the job's providers reach; `None` where one of them reaches every address.
    fn apps(&self, channel: Channel, provider: Option<&str>) -> Option<Vec<String>> {
        self.carriers(channel, provider).map(|provider| provider?.app.clone()).collect()
    }

    fn check_provider(&self, channel: Channel, provider: Option<&str>) -> Result<(), InvalidJob> {
        let Some(name) = provider else {
            let listed = self.channels.get(&channel).is_some_and(|channel| !channel.providers.is_empty());
            let message = format!("the channel {channel} has no provider in the configuration");
            return if listed { Ok(()) } else { Err(InvalidJob::at("$.channel", message)) };
        };
        match self.providers.get(name) {
            Some(ProviderConfig { channel: Some(other), .. }) if *other != channel => {
                let message = format!("`{name}` is a provider of the channel {other}");
                Err(InvalidJob::at("$.provider", message))
            }
            Some(_) => Ok(()),
            None => {
                let message = format!("there is no provider `{name}` in the configuration");
                Err(InvalidJob::at("$.provider", message))
            }
        }
    }

    /// The WeChat template channel carries service messages only, unless its configuration says otherwise.
    fn forbids(&self, channel: Channel, purpose: Purpose) -> bool {
        channel == Channel::Wechat
            && purpose == Purpose::Marketing
            && self.channels.get(&channel).is_none_or(|config| !config.allow_marketing)
    }

    /// A template whose every text message breaks the channel's rules is no template for the job.
    fn check_rules(
        &self,
        template: &Template,
        channel: Channel,
        purpose: Purpose,
        provider: Option<&str>,
    ) -> Result<(), InvalidJob> {
        let Some(config) = self.channels.get(&channel).filter(|_| channel == Channel::Sms) else {
            return Ok(());
        };
        let used = forms(self.carriers(channel, provider).flatten().map(|provider| &provider.kind));
        match template.breaches(&config.rules.text, purpose, used).into_iter().next() {
            Some((_, problem)) => Err(InvalidJob::at("$.template", problem.to_string())),
            None => Ok(()),
        }
    }

    fn template(&self, name: &str, channel: Channel) -> Result<Arc<Template>, InvalidJob> {
        let registry = self.templates.load();
        let Some(template) = registry.get(name) else {
            let message = format!("there is no template `{name}` in {}", self.templates_dir.display());
            return Err(InvalidJob::at("$.template", message));
        };
        if !template.channels().any(|has| has == channel) {
            let message = format!("the template `{name}` has no [{channel}] section");
            return Err(InvalidJob::at("$.template", message));
        }
        Ok(template)
    }

    fn away(&self, error: &Error) -> StoreAway {
        self.outage.goes_on(error);
        StoreAway
    }

    /// Makes a group durable. One job that the store refuses does not hold the others up: then each goes by itself.
    async fn keep(&self, submissions: &[Submission]) -> Result<Vec<Acceptance>, StoreAway> {
        match self.store.accept(submissions, Some(self.me)).await {
            Ok(acceptances) => {
                self.outage.ends();
                return Ok(acceptances);
            }
            Err(error) if error.is_transient() => return Err(self.away(&error)),
            Err(_) => {}
        }
        let mut acceptances = Vec::with_capacity(submissions.len());
        for submission in submissions {
            match self.store.accept(std::slice::from_ref(submission), Some(self.me)).await {
                Ok(accepted) => acceptances.extend(accepted),
                Err(error) if error.is_transient() => return Err(self.away(&error)),
                Err(error) => {
                    // The store's own words may quote the job.
                    error!(kind = submission.job.kind(), "the store cannot keep a job: {error}");
                    let problem = Problem::new("$", "the store cannot keep this job; please report it");
                    acceptances.push(Acceptance::Invalid(problem));
                }
            }
        }
        Ok(acceptances)
    }

    /// Wakes the lanes whose messages were just leased to this daemon.
    fn wake(&self, submissions: &[Submission]) {
        for lane in &self.lanes {
            let ours = |submission: &Submission| matches!(&submission.job, Job::Message(job) if job.channel == lane.channel);
            if submissions.iter().any(ours) {
                lane.accepted();
            }
        }
    }
}

#[async_trait]
impl Accept for Acceptor {
    async fn accept(&self, jobs: Vec<ReadJob>, who: &Actor) -> Result<Vec<Verdict>, StoreAway> {
        let mut verdicts = Vec::with_capacity(jobs.len());
        let mut submissions = Vec::new();
        for job in jobs {
            match self.submission(job) {
                Ok(submission) => {
                    submissions.push(submission);
                    verdicts.push(None);
                }
                Err(invalid) => verdicts.push(Some(Verdict::Invalid(invalid))),
            }
        }
        let timer = self.metrics.store_query_duration.with_label_values(&["accept"]).start_timer();
        let acceptances = self.keep(&submissions).await?;
        timer.observe_duration();
        self.wake(&submissions);
        // What the log does not take has been told in the process's own; the jobs are durable all the same.
        access::record(&*self.store, deeds(&submissions, &acceptances, who)).await.ok();
        let mut acceptances = acceptances.into_iter().map(verdict);
        Ok(verdicts.into_iter().filter_map(|verdict| verdict.or_else(|| acceptances.next())).collect())
    }
}

fn pinned(template: &Template) -> Result<PinnedTemplate, InvalidJob> {
    let name = template.name();
    let source = serde_json::to_value(template.source())
        .map_err(|error| InvalidJob::at("$.template", format!("`{name}` cannot be kept: {error}")))?;
    let (hash, links) = (template.source().hash(), template.links().to_vec());
    Ok(PinnedTemplate { hash, name: name.to_owned(), source, links })
}

/// The jobs that steer what is sent. Messages and contacts come by the thousand and are not audited one by one.
fn deeds(submissions: &[Submission], acceptances: &[Acceptance], who: &Actor) -> Vec<Deed> {
    let steers = |submission: &Submission| matches!(submission.job, Job::Campaign(_) | Job::Control(_));
    let new = |acceptance: &Acceptance| matches!(acceptance, Acceptance::New { .. });
    let both = submissions.iter().zip(acceptances);
    both.filter(|(submission, acceptance)| steers(submission) && new(acceptance))
        .map(|(submission, _)| {
            let job = &submission.job;
            let deed = Deed::new(who.clone(), Action::JobAccepted, Ending::Done).subject(format!(
                "{} {}",
                job.kind(),
                job.id()
            ));
            let deed = match job {
                Job::Control(control) => {
                    deed.detail(format!("{} {}", control.action.as_str(), control.campaign))
                }
                _ => deed,
            };
            Deed { content: Some(submission.content_hash), ..deed }
        })
        .collect()
}

fn verdict(acceptance: Acceptance) -> Verdict {
    match acceptance {
        Acceptance::New { warnings } => Verdict::New { warnings },
        Acceptance::Known => Verdict::Known,
        Acceptance::Conflict => Verdict::Conflict,
        Acceptance::Invalid(problem) => Verdict::Invalid(InvalidJob(vec![problem])),
    }
}
