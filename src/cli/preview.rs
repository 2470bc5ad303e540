//! `preview`: a template's message as one contact would get it, with links as they lead and without a pixel.

use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure};
use super::output::Output;
use super::rendering::Subject;
use super::session::Session;
use crate::model::{Channel, Content};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  campaignd preview spring-sale --contact C-0001 --data '{\"discount\": \"20 %\"}'
  campaignd preview spring-sale --contact C-0001 --data sale.json --html > sale.html
  campaignd preview spring-sale --contact C-0001 --channel sms")]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: Subject,
    /// email, sms, wechat or push; e-mail where the template has it, else its first
    #[arg(long)]
    channel: Option<Channel>,
    /// The HTML part alone
    #[arg(long)]
    html: bool,
}

pub(super) async fn preview(config: &Path, arguments: &Arguments, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    let template = arguments.subject.template(&session.config)?;
    let channel = arguments.channel.or_else(|| template.channels().min()).unwrap_or(Channel::Email);
    let rendered = arguments.subject.render(&session, &template, channel, false).await?;
    if arguments.html {
        let Content::Email(email) = &rendered.content else {
            return Err(Failure::usage(anyhow!("--html is for e-mail; {channel} has no HTML")));
        };
        let html = email.html.as_deref().ok_or_else(|| {
            anyhow!("the template has no HTML: name a file as `html` in [email], or leave --html out")
        })?;
        out.show(&json!({"html": html}), || html.to_owned())?;
    } else {
        out.show(&rendered.content, || text(&rendered.content))?;
    }
    Ok(Exit::Done)
}

fn text(content: &Content) -> String {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: Option<&str>| {
        lines.extend(value.map(|value| format!("{name}: {value}")));
    };
    match content {
        Content::Email(email) => {
            field("From", email.from.as_deref());
            field("Reply-To", email.reply_to.as_deref());
            field("Subject", Some(&email.subject));
            lines.extend([String::new(), email.text.clone()]);
        }
        Content::Sms(sms) => {
            if let Some(aliyun) = &sms.aliyun {
                field("aliyun template", Some(&aliyun.template_code));
                field("aliyun sign name", Some(&aliyun.sign_name));
                aliyun.params.iter().for_each(|(name, value)| field(&format!("aliyun {name}"), Some(value)));
            }
            if let Some(tencent) = &sms.tencent {
                field("tencent template", Some(&tencent.template_id));
                field("tencent sign name", Some(&tencent.sign_name));
                let params = (1..).zip(&tencent.params);
                params.for_each(|(place, value)| field(&format!("tencent {place}"), Some(value)));
            }
            lines.extend(sms.text.clone());
        }
        Content::Wechat(wechat) => {
            field("template", Some(&wechat.template_id));
            field("url", wechat.url.as_deref());
            wechat.data.iter().for_each(|(name, shown)| field(name, Some(&shown.value)));
        }
        Content::Push(push) => {
            field("title", Some(&push.title));
            field("body", Some(&push.body));
            field("url", push.url.as_deref());
        }
    }
    lines.join("\n")
}
