//! `tokens`: who may ask the admin listener.

use std::path::Path;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::exit::{Exit, Failure, tell};
use super::operator::{deed, ending};
use super::output::{Output, maybe_time, table, time};
use super::session::Session;
use crate::access::Token;
use crate::model::access::{Scope, Scopes, check_token_name};
use crate::model::audit::{Action, Ending};
use crate::model::filter::Span;
use crate::store::tokens::{Created, MOST_TOKENS, NewToken, TokenRecord};

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  campaignd tokens create shop --scope send --expires 90d
  campaignd tokens create prometheus --scope read > /etc/prometheus/campaignd.token
  campaignd tokens list
  campaignd tokens revoke shop")]
pub(super) enum Command {
    /// Make a token and print it, this once: only its hash is kept
    #[command(after_help = "Example:\n  campaignd tokens create shop --scope send --expires 90d")]
    Create(New),
    /// Every token that there ever was, without what it says
    #[command(after_help = "Example:\n  campaignd tokens list")]
    List,
    /// End a token; daemons know within seconds
    #[command(after_help = "Example:\n  campaignd tokens revoke shop")]
    Revoke {
        /// As `tokens list` shows it
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// 1 to 64 of a-z, 0-9, `-` and `_`; used once and for ever
    #[arg(value_parser = name)]
    name: String,
    /// read (whatever only reads), send (jobs and contacts) or admin (everything); several are possible
    #[arg(long = "scope", required = true, value_delimiter = ',', value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// After this span it opens nothing any more, as `90d`; else it never ends by itself
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
}

fn name(text: &str) -> Result<String, String> {
    check_token_name(text).map(|()| text.to_owned())
}

pub(super) async fn execute(config: &Path, command: Command, out: Output) -> Result<Exit, Failure> {
    let session = Session::open(config).await?;
    match command {
        Command::Create(new) => create(&session, &new, out).await,
        Command::List => list(&session, out).await,
        Command::Revoke { name } => revoke(&session, &name, out).await,
    }
}

async fn create(session: &Session, new: &New, out: Output) -> Result<Exit, Failure> {
    let New { name, scopes, expires } = new;
    let scopes: Scopes = scopes.iter().copied().collect();
    let after = |span: &Span| Timestamp::now().checked_add(SignedDuration::from_secs(span.0));
    let expires_at = expires.as_ref().map(after).transpose()?;
    let token = Token::generate()?;
    let kept = NewToken { name: name.clone(), hash: token.hash(), scopes, expires_at };
    match session.store.create_token(&kept).await? {
        Created::Done => {}
        Created::NameTaken => {
            return Err(anyhow!(
                "a token has, or had, the name `{name}`: take another, so that the audit log stays clear"
            )
            .into());
        }
        Created::TooMany => {
            return Err(anyhow!("there are {MOST_TOKENS} live tokens: revoke those that nobody uses").into());
        }
    }
    let detail = format!("{}, {}", scopes.names().join(" "), until(expires_at));
    session.note(deed(Action::TokenCreated, Ending::Done).subject(name).detail(detail)).await;
    let shown = json!({"name": name, "scopes": scopes, "expires_at": expires_at, "token": token.reveal()});
    out.show(&shown, || token.reveal().to_owned())?;
    if !out.json {
        tell(&format!("{name}: {}. It is shown this once and kept as a hash alone.", until(expires_at)));
    }
    Ok(Exit::Done)
}

fn until(expires_at: Option<Timestamp>) -> String {
    expires_at
        .map_or_else(|| "valid until it is revoked".to_owned(), |at| format!("valid until {}", time(at)))
}

async fn list(session: &Session, out: Output) -> Result<Exit, Failure> {
    let tokens = session.store.tokens().await?;
    out.show(&tokens, || {
        table(
            ["NAME", "SCOPES", "STATE", "CREATED", "LAST USED", "EXPIRES"],
            tokens.iter().map(|token| {
                [
                    token.name.clone(),
                    token.scopes.names().join(" "),
                    state(token).to_owned(),
                    time(token.created_at),
                    maybe_time(token.last_used_at),
                    maybe_time(token.expires_at),
                ]
            }),
        )
    })?;
    Ok(Exit::Done)
}

fn state(token: &TokenRecord) -> &'static str {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(at)) if at <= Timestamp::now() => "expired",
        _ => "live",
    }
}

async fn revoke(session: &Session, name: &str, out: Output) -> Result<Exit, Failure> {
    let revoked = session.store.revoke_token(name).await?;
    session.note(deed(Action::TokenRevoked, ending(revoked)).subject(name)).await;
    if !revoked {
        return Err(anyhow!("no live token has the name `{name}`; `campaignd tokens list` shows them").into());
    }
    out.show(&json!({"name": name, "revoked": true}), || format!("{name}: revoked"))?;
    Ok(Exit::Done)
}
