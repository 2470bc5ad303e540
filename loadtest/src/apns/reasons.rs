//! Apple's reasons and their status.
//!
//! <https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns>

use hyper::StatusCode;

/// Reasons that Apple does not have are an `InternalServerError`.
pub(super) fn status(reason: &str) -> StatusCode {
    match reason {
        "BadCollapseId"
        | "BadDeviceToken"
        | "BadExpirationDate"
        | "BadMessageId"
        | "BadPriority"
        | "BadTopic"
        | "DeviceTokenNotForTopic"
        | "DuplicateHeaders"
        | "IdleTimeout"
        | "InvalidPushType"
        | "MissingDeviceToken"
        | "MissingTopic"
        | "PayloadEmpty"
        | "TopicDisallowed" => StatusCode::BAD_REQUEST,
        "BadCertificate"
        | "BadCertificateEnvironment"
        | "BadEnvironmentKeyIdInToken"
        | "ExpiredProviderToken"
        | "Forbidden"
        | "InvalidProviderToken"
        | "MissingProviderToken"
        | "UnrelatedKeyIdInToken" => StatusCode::FORBIDDEN,
        "BadPath" => StatusCode::NOT_FOUND,
        "MethodNotAllowed" => StatusCode::METHOD_NOT_ALLOWED,
        "ExpiredToken" | "Unregistered" => StatusCode::GONE,
        "PayloadTooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
        "TooManyProviderTokenUpdates" | "TooManyRequests" => StatusCode::TOO_MANY_REQUESTS,
        "ServiceUnavailable" | "Shutdown" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
