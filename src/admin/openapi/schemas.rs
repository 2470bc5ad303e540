//! The shapes that requests and answers have.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::model::audit::{Action, Ending};
use crate::model::contact::Contact;
use crate::model::{CampaignStatus, Channel, EventKind, Job, Lane, PauseCause, Purpose, Reason, State};

pub(super) fn schemas() -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<Job>();
    generator.subschema_for::<Contact>();
    generator.subschema_for::<CampaignStatus>();
    generator.subschema_for::<PauseCause>();
    generator.subschema_for::<State>();
    generator.subschema_for::<Reason>();
    generator.subschema_for::<EventKind>();
    generator.subschema_for::<Channel>();
    generator.subschema_for::<Lane>();
    generator.subschema_for::<Purpose>();
    let mut schemas = generator.take_definitions(true);
    let body = schemas.get("Contact").map(without_id);
    schemas.extend(body.map(|body| ("ContactBody".to_owned(), body)));
    for group in [shared(), campaigns(), reports(), deliveries(), contacts(), audit()] {
        schemas.extend(group);
    }
    schemas
}

/// CONTACT where the path already names it.
fn without_id(contact: &Value) -> Value {
    let mut body = contact.clone();
    if let Some(required) = body["required"].as_array_mut() {
        required.retain(|name| name != "external_id");
    }
    body
}

fn shared() -> Vec<(String, Value)> {
    let fault = object(&[("path", text()), ("message", text())], &[]);
    let problem = object(
        &[("title", text()), ("status", integer()), ("detail", text())],
        &[("type", text()), ("errors", list(fault))],
    );
    let components = json!({"type": "object", "additionalProperties": {"type": "string"}});
    vec![
        named("Problem", problem),
        named(
            "Readiness",
            object(&[("status", integer()), ("components", components)], &[("title", text())]),
        ),
        named(
            "JobAnswer",
            object(
                &[
                    ("id", text()),
                    ("type", json!({"enum": ["campaign", "message", "contacts", "control"]})),
                    ("result", text()),
                    ("warnings", list(text())),
                ],
                &[],
            ),
        ),
    ]
}

fn audit() -> Vec<(String, Value)> {
    let words = |all: Vec<&str>| json!({"enum": all});
    let deed = object(
        &[
            ("number", integer()),
            ("at", time()),
            ("who", text()),
            ("action", words(Action::ALL.iter().map(|action| action.as_str()).collect())),
            ("subject", or_null(text())),
            ("contact", or_null(text())),
            ("content", or_null(text())),
            ("ending", words(Ending::ALL.iter().map(|ending| ending.as_str()).collect())),
            ("detail", or_null(text())),
        ],
        &[],
    );
    vec![named("Audit", object(&[("audit", list(deed)), ("next_before", or_null(integer()))], &[]))]
}

fn campaigns() -> Vec<(String, Value)> {
    let campaign = object(
        &[
            ("id", text()),
            ("name", or_null(text())),
            ("status", of("CampaignStatus")),
            ("pause_cause", or_null(of("PauseCause"))),
            ("channel", of("Channel")),
            ("purpose", of("Purpose")),
            ("lane", of("Lane")),
            ("template", text()),
            ("provider", or_null(text())),
            ("rate", list(text())),
            ("send_at", or_null(time())),
            ("expires_at", or_null(time())),
            ("accepted_at", time()),
            ("started_at", or_null(time())),
            ("finished_at", or_null(time())),
            ("targeted", integer()),
            ("sent", integer()),
            ("settled", integer()),
        ],
        &[],
    );
    let page = object(&[("campaigns", list(of("Campaign"))), ("next_offset", or_null(integer()))], &[]);
    vec![
        named("Campaign", campaign),
        named("Campaigns", page),
        named("Controlled", object(&[("id", text()), ("status", of("CampaignStatus"))], &[])),
    ]
}

fn reports() -> Vec<(String, Value)> {
    let engaged = object(&[("unique", integer()), ("total", integer()), ("machine", integer())], &[]);
    let ratio = object(
        &[
            ("numerator", or_null(integer())),
            ("denominator", or_null(integer())),
            ("value", or_null(json!({"type": "number", "minimum": 0}))),
        ],
        &[],
    );
    let rates =
        ["delivery", "open", "click", "click_to_open", "unsubscribe", "complaint", "bounce", "receipt"];
    let states: Vec<_> = State::ALL.iter().map(|state| (state.as_str(), integer())).collect();
    let reason = object(&[("state", of("State")), ("reason", of("Reason")), ("count", integer())], &[]);
    let link = object(&[("url", text()), ("clicks", integer()), ("unique", integer())], &[]);
    let hour =
        object(&[("hour", time()), ("sent", integer()), ("opens", integer()), ("clicks", integer())], &[]);
    let report = object(
        &[
            ("campaign", text()),
            ("name", or_null(text())),
            ("status", of("CampaignStatus")),
            ("channel", of("Channel")),
            ("as_of", time()),
            ("targeted", integer()),
            ("states", object(&states, &[])),
            ("reasons", list(reason)),
            ("sent", integer()),
            ("delivered", or_null(integer())),
            ("opens", or_null(of("Engaged"))),
            ("clicks", of("Engaged")),
            ("unsubscribes", integer()),
            ("complaints", or_null(integer())),
            ("segments", or_null(integer())),
            ("base", json!({"enum": ["delivered", "sent"]})),
            ("rates", object(&rates.map(|name| (name, of("Ratio"))), &[])),
            ("links", list(link)),
            ("series", list(hour)),
        ],
        &[],
    );
    vec![named("Engaged", engaged), named("Ratio", ratio), named("Report", report)]
}

fn deliveries() -> Vec<(String, Value)> {
    let delivery = [
        ("external_id", or_null(text())),
        ("occurrence", integer()),
        ("state", of("State")),
        ("reason", or_null(of("Reason"))),
        ("attempts", integer()),
        ("provider", or_null(text())),
        ("provider_ref", or_null(text())),
        ("updated_at", time()),
    ];
    let attempt = object(
        &[
            ("at", time()),
            ("attempt", integer()),
            ("provider", or_null(text())),
            ("outcome", text()),
            ("reason", or_null(of("Reason"))),
            ("detail", text()),
        ],
        &[],
    );
    let event = object(
        &[
            ("at", time()),
            ("kind", of("EventKind")),
            ("link", or_null(text())),
            ("machine", or_null(text())),
            ("reason", or_null(of("Reason"))),
            ("detail", or_null(text())),
        ],
        &[],
    );
    let mut explanation = delivery.to_vec();
    explanation.extend([
        ("campaign", text()),
        ("channel", of("Channel")),
        ("due_at", or_null(time())),
        ("attempts_made", list(attempt)),
        ("events", list(event)),
    ]);
    let page = object(&[("deliveries", list(of("Delivery"))), ("next_cursor", or_null(text()))], &[]);
    let explained = object(
        &[("campaign", text()), ("external_id", text()), ("deliveries", list(of("Explanation")))],
        &[],
    );
    vec![
        named("Delivery", object(&delivery, &[])),
        named("Explanation", object(&explanation, &[])),
        named("Deliveries", page),
        named("Explained", explained),
    ]
}

fn contacts() -> Vec<(String, Value)> {
    let address = object(
        &[
            ("channel", of("Channel")),
            ("address", text()),
            ("consent_at", or_null(time())),
            ("consent_source", or_null(text())),
            ("unsubscribed_at", or_null(time())),
            ("suppressed", json!({"type": "boolean"})),
        ],
        &[("app", text())],
    );
    let engagement = object(
        &[
            ("first_open_at", or_null(time())),
            ("last_open_at", or_null(time())),
            ("opens", integer()),
            ("first_click_at", or_null(time())),
            ("last_click_at", or_null(time())),
            ("clicks", integer()),
            ("active_hours", list(integer())),
        ],
        &[],
    );
    let record = object(
        &[
            ("external_id", text()),
            ("attributes", json!({"type": "object"})),
            ("tags", list(text())),
            ("locale", or_null(text())),
            ("timezone", or_null(text())),
            ("addresses", list(address)),
            ("engagement", engagement),
            ("created_at", time()),
            ("updated_at", time()),
        ],
        &[],
    );
    let entry = object(
        &[
            ("at", time()),
            ("campaign", text()),
            ("channel", of("Channel")),
            ("type", json!({"enum": ["delivery", "event"]})),
        ],
        &[
            ("state", of("State")),
            ("reason", or_null(of("Reason"))),
            ("kind", of("EventKind")),
            ("link", or_null(text())),
            ("machine", json!({"type": "boolean"})),
        ],
    );
    vec![
        named("ContactRecord", record),
        named("Written", object(&[("external_id", text()), ("warnings", list(text()))], &[])),
        named("Timeline", object(&[("external_id", text()), ("timeline", list(entry))], &[])),
    ]
}

fn named(name: &str, schema: Value) -> (String, Value) {
    (name.to_owned(), schema)
}

/// `always` are there in every answer, `sometimes` are not; there are no others.
fn object(always: &[(&str, Value)], sometimes: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = always.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        always.iter().chain(sometimes).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn integer() -> Value {
    json!({"type": "integer"})
}
