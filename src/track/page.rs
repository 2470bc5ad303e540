//! The unsubscribe pages, in English and Chinese: whole in themselves, no script, nothing from elsewhere.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::http::Language;

const STYLE: &str = "body{margin:0;min-height:100vh;display:grid;place-items:center;background:#f4f5f7;color:#1d2430;\
font:1.0625rem/1.6 system-ui,-apple-system,\"PingFang SC\",\"Microsoft YaHei\",sans-serif}\
main{box-sizing:border-box;width:100%;max-width:28rem;padding:2rem 1.5rem;text-align:center}\
h1{font-size:1.5rem;line-height:1.3;margin:0 0 .75rem}p{margin:0 0 1.5rem}\
button{font:inherit;font-weight:600;width:100%;padding:.85rem 1rem;border:0;border-radius:.6rem;background:#1d4ed8;color:#fff;\
cursor:pointer}button:hover{background:#1e40af}button:focus-visible{outline:3px solid #93c5fd;outline-offset:2px}\
@media(prefers-color-scheme:dark){body{background:#12161d;color:#e6e9ef}}";

/// Nothing but the style above (by its hash) and the form's way back to its own page.
const POLICY: &str = "default-src 'none'; style-src 'sha256-KwDhxnEWwFWe+ORONuDiHCYuRFI3I8yBSRhFS0Xaiks='; form-action 'self'; \
base-uri 'none'; frame-ancestors 'none'";

/// What the form posts is what RFC 8058 has mail programs post.
const FORM: (&str, &str) =
    ("<form method=\"post\"><button name=\"List-Unsubscribe\" value=\"One-Click\">", "</button></form>");

/// Asks whether to unsubscribe; its button posts to the page's own address.
pub(super) fn ask(language: Language) -> Response {
    let (title, text, button) = match language {
        Language::English => {
            ("Unsubscribe?", "You will no longer receive these messages from us.", "Unsubscribe")
        }
        Language::Chinese => ("确定要退订吗？", "退订后，您将不再收到我们的此类消息。", "退订"),
    };
    page(language, title, &format!("<p>{text}</p>{}{button}{}", FORM.0, FORM.1))
}

/// Confirms that the person is unsubscribed.
pub(super) fn done(language: Language) -> Response {
    let (title, text) = match language {
        Language::English => ("You are unsubscribed", "We will not send you these messages any more."),
        Language::Chinese => ("退订成功", "我们不会再向您发送此类消息。"),
    };
    page(language, title, &format!("<p>{text}</p>"))
}

fn page(language: Language, title: &str, content: &str) -> Response {
    let tag = language.tag();
    let html = format!(
        "<!doctype html><html lang=\"{tag}\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{content}</main></body></html>"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_LANGUAGE, tag),
        // The page's address is a key to the subscription.
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(html)).into_response()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_names_the_style() {
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "the style's hash is now {hash}");
    }
}
