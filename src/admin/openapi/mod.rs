//! The description of both listeners in OpenAPI 3.1, as `/openapi.json` serves it.
//!
//! What callers send is described by the types that read it. What they get is written out in `schemas`; tests hold real
//! answers against it, and the paths against the router.

mod paths;
mod schemas;

use serde_json::{Value, json};

pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "campaignd",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Campaigns, their deliveries and reports, and contacts. Times are UTC in RFC 3339. Ids in \
                            paths may have any characters, percent-encoded. Errors are problem+json (RFC 9457). \
                            Unknown query parameters and fields are refused.",
        },
        "tags": [
            {"name": "admin", "description": "The listener `http.admin`: loopback, or with an API token."},
            {"name": "public", "description": "The listener `http.public`: what recipients reach."},
        ],
        "security": [{}, {"token": []}],
        "paths": paths::paths(),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Where `http.admin` is no loopback address."},
            },
            "schemas": schemas::schemas(),
            "responses": paths::responses(),
            "parameters": paths::parameters(),
        },
    })
}
