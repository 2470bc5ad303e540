//! Contacts: written whole, read, followed, erased.

use serde_json::{Value, json};

use super::api::Api;

async fn put(api: &Api, id: &str, body: Value) -> (u16, Value) {
    let answer = api.ask("PUT", &format!("/v1/contacts/{id}"), &body.to_string()).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_put_replaces_the_whole() {
    let api = Api::start().await;
    let whole = json!({
        "external_id": "C-1", "attributes": {"city": "上海", "age": 31, "gone": null}, "tags": ["vip"],
        "locale": "zh-CN", "timezone": "Asia/Shanghai",
        "addresses": [
            {"channel": "email", "address": "Anna@Example.com", "consent": true},
            {"channel": "push", "address": "token", "app": "shop"},
        ],
    });
    assert_eq!(put(&api, "C-1", whole).await, (200, json!({"external_id": "C-1", "warnings": []})));
    let contact = api.read("/v1/contacts/C-1").await;
    assert_eq!(contact["attributes"], json!({"city": "上海", "age": 31}));
    assert_eq!((&contact["locale"], &contact["tags"]), (&json!("zh-CN"), &json!(["vip"])));
    let address = &contact["addresses"][0];
    assert_eq!((&address["address"], &address["suppressed"]), (&json!("anna@example.com"), &json!(false)));
    assert_eq!(address["consent_source"], "PUT /v1/contacts");
    assert_eq!(contact["addresses"][1]["app"], "shop");

    put(&api, "C-1", json!({"attributes": {"city": "Berlin"}})).await;
    let contact = api.read("/v1/contacts/C-1").await;
    assert_eq!((&contact["attributes"], &contact["tags"]), (&json!({"city": "Berlin"}), &json!([])));
    assert_eq!((&contact["locale"], &contact["addresses"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn an_address_stays_with_its_owner_and_the_answer_says_so() {
    let api = Api::start().await;
    let body = json!({"addresses": [{"channel": "email", "address": "anna@example.com"}]});
    put(&api, "C-1", body.clone()).await;
    let (status, answer) = put(&api, "C-2", body).await;
    assert_eq!(status, 200);
    assert_eq!(
        answer["warnings"],
        json!(["$.addresses: the email address stays with the contact that owns it"])
    );
    assert_eq!(api.read("/v1/contacts/C-2").await["addresses"], json!([]));
}

#[tokio::test]
async fn an_invalid_body_changes_nothing() {
    let api = Api::start().await;
    put(&api, "C-1", json!({"tags": ["vip"]})).await;
    for (body, path) in [
        (json!({"tags": ["x"], "timezone": "Mars/Olympus"}), "$.timezone"),
        (json!({"tags": ["x"], "external_id": "C-2"}), "$.external_id"),
        (
            json!({"tags": ["x"], "addresses": [{"channel": "sms", "address": "110"}]}),
            "$.addresses[0].address",
        ),
        (json!([]), "$"),
    ] {
        let (status, problem) = put(&api, "C-1", body).await;
        assert_eq!((status, &problem["errors"][0]["path"]), (422, &json!(path)));
    }
    assert_eq!(api.read("/v1/contacts/C-1").await["tags"], json!(["vip"]));
}

#[tokio::test]
async fn an_erased_contact_is_gone_and_its_delivery_stays() {
    let api = Api::start().await;
    api.bed.people(2).await;
    api.bed.planned("spring", json!({"all": true}), json!({})).await;
    let erased = api.ask("DELETE", "/v1/contacts/P1", "").await;
    assert_eq!((erased.status, erased.text.as_str()), (204, ""));
    for (method, path) in
        [("GET", "/v1/contacts/P1"), ("DELETE", "/v1/contacts/P1"), ("GET", "/v1/contacts/P1/timeline")]
    {
        assert_eq!(api.ask(method, path, "").await.status, 404, "{method} {path}");
    }
    let page = api.read("/v1/campaigns/spring/deliveries").await;
    assert_eq!(page["deliveries"][0]["external_id"], Value::Null);
    assert_eq!(api.read("/v1/campaigns/spring/report").await["targeted"], 2);
}

#[tokio::test]
async fn a_timeline_tells_the_newest_first() {
    let api = Api::start().await;
    api.bed.people(1).await;
    api.bed.planned("spring", json!({"all": true}), json!({})).await;
    api.bed.planned("summer", json!({"all": true}), json!({})).await;
    let timeline = api.read("/v1/contacts/P1/timeline").await;
    let campaigns: Vec<_> =
        timeline["timeline"].as_array().unwrap().iter().map(|one| &one["campaign"]).collect();
    assert_eq!(campaigns, ["summer", "spring"]);
    assert_eq!(timeline["timeline"][0]["state"], "planned");
    assert_eq!(api.read("/v1/contacts/P1/timeline?limit=1").await["timeline"].as_array().unwrap().len(), 1);
}
