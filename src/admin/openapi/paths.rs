//! Each route: what it takes, what it answers.

use serde_json::{Map, Value, json};

use super::super::{audit, campaigns, contacts, deliveries, request};

const JSON: &str = "application/json";

pub(super) fn paths() -> Value {
    let mut paths = Map::new();
    for group in [jobs(), campaigns(), deliveries(), contacts(), audit(), operations(), public()] {
        paths.extend(group);
    }
    paths.iter_mut().filter(|(path, _)| !PROBES.contains(&path.as_str())).for_each(|(_, item)| guard(item));
    Value::Object(paths)
}

/// What answers without a token.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Adds what the listener refuses before a route is asked.
fn guard(item: &mut Value) {
    let operations = item.as_object_mut().into_iter().flat_map(|item| item.values_mut());
    for operation in operations.filter(|operation| operation["tags"] == json!(["admin"])) {
        refuse(operation, &["401 Unauthorized", "403 Forbidden", "421 Misdirected", "429 Locked"]);
    }
}

/// Refusals that many routes share.
pub(super) fn responses() -> Value {
    let problem = |why: &str| json!({"description": why, "content": {"application/problem+json": {"schema": schema("Problem")}}});
    let mut away = problem("the store is away; try again after `Retry-After` seconds");
    away["headers"] = json!({"Retry-After": {"schema": {"type": "integer"}}});
    json!({
        "BadRequest": problem("a parameter is unknown or unreadable"),
        "NotFound": problem("there is no such thing"),
        "Conflict": problem("this id was accepted before with other content; nothing changed"),
        "TooLarge": problem("the body is over its limit"),
        "NotJson": problem("the body is not application/json"),
        "Invalid": problem("each fault of the body with its JSON path; nothing changed"),
        "Unauthorized": problem("no API token, or none that is valid; `WWW-Authenticate` says how"),
        "Forbidden": problem("the API token lacks the scope"),
        "Misdirected": problem("`Host` names nothing of ours"),
        "Locked": problem("too many wrong API tokens from this address; try again after `Retry-After` seconds"),
        "Failed": problem("a fault of the daemon or its store; the log says more"),
        "Away": away,
    })
}

pub(super) fn parameters() -> Value {
    let path = |name: &str, what: &str| {
        json!({"name": name, "in": "path", "required": true, "description": what,
            "schema": {"type": "string", "minLength": 1, "maxLength": 200}})
    };
    json!({
        "campaign": path("id", "the campaign's id"),
        "contact": path("external_id", "the contact's id"),
        "token": path("token", "what the message carries"),
    })
}

fn jobs() -> Map<String, Value> {
    let answer = |when: &str| answers(when, JSON, &schema("JobAnswer"));
    let mut post = operation("admin", "enqueueJob", "Enqueue a job; the same body as over RabbitMQ");
    post["requestBody"] = body(&schema("Job"));
    post["responses"] =
        json!({"202": answer("durable"), "200": answer("accepted before with the same content")});
    refuse(&mut post, &["409 Conflict", "413 TooLarge", "415 NotJson", "422 Invalid", "503 Away"]);
    one("/v1/jobs", json!({"post": post}))
}

fn campaigns() -> Map<String, Value> {
    let mut list = operation("admin", "listCampaigns", "Campaigns, newest first");
    list["parameters"] = json!([
        limit(campaigns::DEFAULT_LIMIT),
        query("offset", &json!({"type": "integer", "minimum": 0, "default": 0}))
    ]);
    list["responses"] = json!({"200": answers("a page", JSON, &schema("Campaigns"))});
    refuse(&mut list, READING);
    let read = |id: &str, summary: &str, content: &str, answer: &Value| {
        let mut get = operation("admin", id, summary);
        get["responses"] = json!({"200": answers("as it is now", content, answer)});
        refuse(&mut get, READING_ONE);
        json!({"parameters": [parameter("campaign")], "get": get})
    };
    let mut paths = one("/v1/campaigns", json!({"get": list}));
    paths.extend(one("/v1/campaigns/{id}", read("getCampaign", "A campaign", JSON, &schema("Campaign"))));
    for action in ["pause", "resume", "cancel"] {
        let mut post =
            operation("admin", &format!("{action}Campaign"), &format!("{action} the campaign; idempotent"));
        post["responses"] = json!({"200": answers("the status now", JSON, &schema("Controlled"))});
        refuse(&mut post, READING_ONE);
        let item = json!({"parameters": [parameter("campaign")], "post": post});
        paths.extend(one(&format!("/v1/campaigns/{{id}}/{action}"), item));
    }
    let report = read("getReport", "Funnel, rates, links and hours", JSON, &schema("Report"));
    paths.extend(one("/v1/campaigns/{id}/report", report));
    let csv = read("getReportCsv", "The report, a line a number", "text/csv", &json!({"type": "string"}));
    paths.extend(one("/v1/campaigns/{id}/report.csv", csv));
    paths
}

fn deliveries() -> Map<String, Value> {
    let mut page = operation("admin", "listDeliveries", "The campaign's ledger, page by page");
    page["parameters"] = json!([
        query("state", &json!({"allOf": [schema("State")], "description": "`planned` lists `sending` too"})),
        limit(deliveries::DEFAULT_LIMIT),
        query("cursor", &json!({"type": "string", "description": "`next_cursor` of the page before"})),
    ]);
    page["responses"] = json!({"200": answers("a page", JSON, &schema("Deliveries"))});
    refuse(&mut page, READING_ONE);
    let mut explain = operation("admin", "explainDelivery", "Why this contact did or did not get it");
    explain["responses"] = json!({"200": answers("every decision and attempt", JSON, &schema("Explained"))});
    refuse(&mut explain, READING_ONE);
    let mut paths =
        one("/v1/campaigns/{id}/deliveries", json!({"parameters": [parameter("campaign")], "get": page}));
    paths.extend(one(
        "/v1/campaigns/{id}/deliveries/{external_id}",
        json!({"parameters": [parameter("campaign"), parameter("contact")], "get": explain}),
    ));
    paths
}

fn contacts() -> Map<String, Value> {
    let mut get = operation("admin", "getContact", "A contact, its addresses and what it did");
    get["responses"] = json!({"200": answers("the contact", JSON, &schema("ContactRecord"))});
    refuse(&mut get, READING_ONE);
    let mut put = operation("admin", "putContact", "Write a contact whole; what is left out goes");
    put["requestBody"] = body(&schema("ContactBody"));
    put["responses"] = json!({"200": answers("written", JSON, &schema("Written"))});
    refuse(
        &mut put,
        &["400 BadRequest", "413 TooLarge", "415 NotJson", "422 Invalid", "500 Failed", "503 Away"],
    );
    let mut delete = operation("admin", "eraseContact", "Erase a contact; counts and suppressions stay");
    delete["responses"] = json!({"204": {"description": "erased"}});
    refuse(&mut delete, READING_ONE);
    let mut timeline = operation("admin", "getTimeline", "The contact's deliveries and events, newest first");
    timeline["parameters"] = json!([limit(contacts::DEFAULT_LIMIT)]);
    timeline["responses"] = json!({"200": answers("a page", JSON, &schema("Timeline"))});
    refuse(&mut timeline, READING_ONE);
    let parameters = json!([parameter("contact")]);
    let mut paths = one(
        "/v1/contacts/{external_id}",
        json!({"parameters": parameters, "get": get, "put": put, "delete": delete}),
    );
    paths.extend(one(
        "/v1/contacts/{external_id}/timeline",
        json!({"parameters": parameters, "get": timeline}),
    ));
    paths
}

fn audit() -> Map<String, Value> {
    let mut list = operation("admin", "listAudit", "Who did what, newest first; needs the scope `admin`");
    list["parameters"] = json!([
        query("since", &json!({"type": "string", "format": "date-time"})),
        query(
            "contact",
            &json!({"type": "string", "description": "an external id, also of an erased contact"})
        ),
        query("before", &json!({"type": "integer", "description": "`next_before` of the page before"})),
        limit(audit::DEFAULT_LIMIT),
    ]);
    list["responses"] = json!({"200": answers("a page", JSON, &schema("Audit"))});
    refuse(&mut list, READING);
    one("/v1/audit", json!({"get": list}))
}

fn operations() -> Map<String, Value> {
    let text = |id: &str, summary: &str| {
        let mut get = operation("admin", id, summary);
        get["responses"] = json!({"200": answers("now", "text/plain", &json!({"type": "string"}))});
        json!({"get": get})
    };
    let mut ready = operation("admin", "getReadiness", "Whether every component works");
    ready["responses"] = json!({
        "200": answers("ready", JSON, &schema("Readiness")),
        "503": answers("some are not", "application/problem+json", &schema("Readiness")),
    });
    let mut document = operation("admin", "getDocument", "This document");
    document["responses"] = json!({"200": answers("OpenAPI 3.1", JSON, &json!({"type": "object"}))});
    let mut paths = one("/healthz", text("getHealth", "Whether the process answers"));
    paths.extend(one("/readyz", json!({"get": ready})));
    paths.extend(one("/metrics", text("getMetrics", "Metrics in Prometheus' text format")));
    paths.extend(one("/openapi.json", json!({"get": document})));
    paths
}

fn public() -> Map<String, Value> {
    let page = |when: &str| answers(when, "text/html", &json!({"type": "string"}));
    let mut open =
        operation("public", "open", "The open pixel; a bad token gets it too, and nothing is recorded");
    open["responses"] = json!({"200": answers("a pixel, never cached", "image/gif", &json!({}))});
    let mut click = operation("public", "click", "A tracked link");
    click["responses"] = json!({
        "302": {"description": "the link's target", "headers": {"Location": {"schema": {"type": "string"}}}},
        "404": page("a bad token; never a redirect"),
        "503": page("the target is not known while the store is away"),
    });
    let mut ask = operation("public", "askToUnsubscribe", "A page that asks and changes nothing");
    ask["responses"] = json!({"200": page("the question"), "404": page("a bad token")});
    let mut unsubscribe = operation("public", "unsubscribe", "Unsubscribe at once (RFC 8058)");
    unsubscribe["responses"] = json!({
        "200": page("durable"), "404": page("a bad token"), "503": page("not durable yet; try again"),
    });
    let mut paths = Map::new();
    for (path, mut item) in [
        ("/o/{token}", json!({"get": open})),
        ("/c/{token}", json!({"get": click})),
        ("/u/{token}", json!({"get": ask, "post": unsubscribe})),
    ] {
        item["parameters"] = json!([parameter("token")]);
        paths.extend(one(path, item));
    }
    paths
}

const READING: &[&str] = &["400 BadRequest", "500 Failed", "503 Away"];
const READING_ONE: &[&str] = &["400 BadRequest", "404 NotFound", "500 Failed", "503 Away"];

fn one(path: &str, item: Value) -> Map<String, Value> {
    Map::from_iter([(path.to_owned(), item)])
}

/// Public routes take no token of ours.
fn operation(tag: &str, id: &str, summary: &str) -> Value {
    let mut operation = json!({"tags": [tag], "operationId": id, "summary": summary});
    if tag == "public" {
        operation["security"] = json!([]);
    }
    operation
}

/// Adds refusals by `STATUS Name`.
fn refuse(operation: &mut Value, refusals: &[&str]) {
    for (status, name) in refusals.iter().filter_map(|refusal| refusal.split_once(' ')) {
        operation["responses"][status] = json!({"$ref": format!("#/components/responses/{name}")});
    }
}

fn answers(when: &str, content: &str, schema: &Value) -> Value {
    json!({"description": when, "content": {content: {"schema": schema}}})
}

fn body(schema: &Value) -> Value {
    json!({"required": true, "content": {JSON: {"schema": schema}}})
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn parameter(name: &str) -> Value {
    json!({"$ref": format!("#/components/parameters/{name}")})
}

fn query(name: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "schema": schema})
}

fn limit(default: u32) -> Value {
    query(
        "limit",
        &json!({"type": "integer", "minimum": 1, "maximum": request::MAX_LIMIT, "default": default}),
    )
}
