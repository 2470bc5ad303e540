//! Contacts: write one whole, read it, follow it, erase it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::request::{Ids, Nothing, Query, limit};
use super::{Refusal, Shared, note};
use crate::http::Problem;
use crate::model::Job;
use crate::model::access::Caller;
use crate::model::audit::{Action, Deed, Ending};
use crate::model::contact::Contact;
use crate::model::job::InvalidJob;
use crate::store::contacts::{ContactRecord, TimelineEntry, Upsert};

pub(super) const DEFAULT_LIMIT: u32 = 100;

/// Kept as evidence of consent that a body gives.
const SOURCE: &str = "PUT /v1/contacts";

#[derive(Debug, Serialize)]
pub(super) struct Written {
    external_id: String,
    /// What was left out, and why.
    warnings: Vec<String>,
}

/// The contact becomes exactly what is given; consent and unsubscribes keep their own rules.
pub(super) async fn put(
    State(store): State<Shared>,
    Ids([external_id]): Ids<1>,
    _: Query<Nothing>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Written>, Refusal> {
    if !is_json(&headers) {
        let detail = "A contact is sent as application/json.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|error| match error.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(status, "A contact has at most 1 MiB."),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "The body broke off."),
    })?;
    let contacts = read(&external_id, &body).map_err(unprocessable)?;
    let foreign = store.upsert_contacts(&contacts, Upsert::Replace, SOURCE).await?;
    let warnings = foreign.iter().map(|left_out| {
        format!("$.addresses: the {} address stays with the contact that owns it", left_out.channel)
    });
    Ok(Json(Written { external_id, warnings: warnings.collect() }))
}

/// Whether the body claims to be JSON; one without a content type gets the benefit of the doubt.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Reads CONTACT with the rules of a contacts job, of which it is a single line; paths begin at the body.
fn read(external_id: &str, body: &[u8]) -> Result<Vec<Contact>, InvalidJob> {
    let mut contact: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|error| InvalidJob::at("$", format!("not a JSON object: {error}")))?;
    let given = contact.entry("external_id").or_insert_with(|| external_id.into());
    if given != external_id {
        return Err(InvalidJob::at("$.external_id", "is not the id in the path; leave it out"));
    }
    let job = json!({"type": "contacts", "id": SOURCE, "upsert": [contact]});
    match Job::read(job.to_string().as_bytes()) {
        Ok(read) => match read.job {
            Job::Contacts(job) => Ok(job.upsert),
            _ => Err(InvalidJob::at("$", "is no contact")),
        },
        Err(mut invalid) => {
            for problem in &mut invalid.0 {
                problem.path = problem.path.replacen("$.upsert[0]", "$", 1);
            }
            Err(invalid)
        }
    }
}

fn unprocessable(invalid: InvalidJob) -> Refusal {
    let problem =
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "The contact is invalid; nothing was changed.");
    let faults = invalid.0.into_iter();
    faults.fold(problem, |problem, fault| problem.fault(fault.path, fault.message)).into()
}

pub(super) async fn show(
    State(store): State<Shared>,
    Ids([external_id]): Ids<1>,
    _: Query<Nothing>,
) -> Result<Json<ContactRecord>, Refusal> {
    store.contact(&external_id).await?.map(Json).ok_or_else(Refusal::no_contact)
}

pub(super) async fn erase(
    State(store): State<Shared>,
    caller: Caller,
    Ids([external_id]): Ids<1>,
    _: Query<Nothing>,
) -> Result<StatusCode, Refusal> {
    let erased = store.erase_contact(&external_id).await?;
    let ending = if erased { Ending::Done } else { Ending::NotFound };
    note(&store, Deed::new(caller.actor, Action::ContactErased, ending).contact(external_id)).await;
    if erased { Ok(StatusCode::NO_CONTENT) } else { Err(Refusal::no_contact()) }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Length {
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Timeline {
    external_id: String,
    timeline: Vec<TimelineEntry>,
}

/// Newest first.
pub(super) async fn timeline(
    State(store): State<Shared>,
    Ids([external_id]): Ids<1>,
    Query(length): Query<Length>,
) -> Result<Json<Timeline>, Refusal> {
    let limit = limit(length.limit, DEFAULT_LIMIT)?;
    let timeline = store.timeline(&external_id, limit).await?.ok_or_else(Refusal::no_contact)?;
    Ok(Json(Timeline { external_id, timeline }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn faults(body: &str) -> Vec<String> {
        read("C-1", body.as_bytes()).unwrap_err().0.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn the_paths_id_is_the_contacts() {
        for body in ["{}", r#"{"external_id": "C-1"}"#] {
            assert_eq!(read("C-1", body.as_bytes()).unwrap()[0].external_id, "C-1");
        }
        assert_eq!(faults(r#"{"external_id": "C-2"}"#), ["$.external_id"]);
        assert_eq!(faults(r#"{"external_id": null}"#), ["$.external_id"]);
    }

    #[test]
    fn faults_name_their_place_in_the_body() {
        let body = r#"{"locale": "x", "addresses": [{"channel": "email", "address": "nope"}]}"#;
        assert_eq!(faults(body), ["$.locale", "$.addresses[0].address"]);
        assert_eq!(faults(r#"{"tagz": []}"#), ["$.tagz"]);
        assert_eq!(
            faults(r#"{"addresses": [{"channel": "fax", "address": "1"}]}"#),
            ["$.addresses[0].channel"]
        );
        assert_eq!(faults(r#"{"attributes": {"a": {"b": "\u0000"}}}"#), ["$.attributes.a.b"]);
        for body in ["", "{", "[]", "null", "7"] {
            assert_eq!(faults(body), ["$"], "{body}");
        }
    }

    #[test]
    fn addresses_are_canonical_once_read() {
        let body = r#"{"addresses": [{"channel": "email", "address": " Anna@Example.com"}]}"#;
        let contact = read("C-1", body.as_bytes()).unwrap().remove(0);
        assert_eq!(contact.addresses.unwrap()[0].address, "anna@example.com");
    }

    proptest! {
        #[test]
        fn no_body_breaks_the_reader(body in any::<Vec<u8>>()) {
            if let Err(InvalidJob(problems)) = read("C-1", &body) {
                prop_assert!(problems.iter().all(|problem| problem.path.starts_with('$')));
            }
        }
    }
}
