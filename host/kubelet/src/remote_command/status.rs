//! How a client of exec or attach is told how it ended.

use bytes::Bytes;
use serde_json::{Value, json};
use vk_provider::ErrorKind;

use super::Version;
use crate::Outcome;

/// What a client is told that took nothing for so long that its session was given up: no word would be success.
const ABANDONED: &str = "the session was given up: its client took nothing for too long";

/// What the error stream carries before it ends: from version 4 on a `metav1.Status`, before that a text if it failed.
pub(super) fn status(outcome: &Outcome, version: Version) -> Option<Bytes> {
    match version {
        Version::V4 | Version::V5 => Some(json_status(outcome).to_string().into()),
        Version::V1 | Version::V2 | Version::V3 => match outcome {
            Outcome::Exit(0) => None,
            Outcome::Exit(code) => Some(exit_message(*code).into()),
            Outcome::Failed(error) => Some(error.message.clone().into()),
            Outcome::Abandoned => Some(ABANDONED.into()),
        },
    }
}

fn json_status(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Exit(0) => json!({ "metadata": {}, "status": "Success" }),
        Outcome::Exit(code) => json!({
            "metadata": {},
            "status": "Failure",
            "reason": "NonZeroExitCode",
            "message": exit_message(*code),
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        }),
        Outcome::Failed(error) => failure(error.kind, &error.message),
        Outcome::Abandoned => failure(ErrorKind::Unavailable, ABANDONED),
    }
}

fn failure(kind: ErrorKind, message: &str) -> Value {
    let (reason, code) = reason(kind);
    json!({ "metadata": {}, "status": "Failure", "reason": reason, "message": message, "code": code })
}

fn exit_message(code: u8) -> String {
    format!("command terminated with non-zero exit code: {code}")
}

/// The reason and the code of the Kubernetes API for a failure.
fn reason(kind: ErrorKind) -> (&'static str, u16) {
    match kind {
        ErrorKind::Invalid => ("BadRequest", 400),
        ErrorKind::NotFound => ("NotFound", 404),
        ErrorKind::Conflict => ("Conflict", 409),
        ErrorKind::PermissionDenied => ("Forbidden", 403),
        ErrorKind::Exhausted => ("TooManyRequests", 429),
        ErrorKind::Unavailable => ("ServiceUnavailable", 503),
        // The provider's credentials are not the client's.
        ErrorKind::Unauthenticated | ErrorKind::Unsupported | ErrorKind::Internal => ("InternalError", 500),
    }
}

#[cfg(test)]
mod tests {
    use vk_provider::Error;

    use super::*;

    const JSON: [Version; 2] = [Version::V4, Version::V5];
    const TEXT: [Version; 3] = [Version::V1, Version::V2, Version::V3];

    fn json_of(outcome: &Outcome) -> Value {
        let [four, five] = JSON.map(|version| status(outcome, version).expect("a status"));
        assert_eq!(four, five);
        serde_json::from_slice(&four).unwrap()
    }

    #[test]
    fn success_is_said_from_version_4_on() {
        assert_eq!(json_of(&Outcome::Exit(0)), json!({ "metadata": {}, "status": "Success" }));
        for version in TEXT {
            assert_eq!(status(&Outcome::Exit(0), version), None, "{version:?}");
        }
    }

    #[test]
    fn exit_codes_are_a_cause_from_version_4_on_and_a_text_before() {
        for code in [1, 42, 137, 255] {
            let outcome = Outcome::Exit(code);
            let message = format!("command terminated with non-zero exit code: {code}");
            assert_eq!(
                json_of(&outcome),
                json!({
                    "metadata": {},
                    "status": "Failure",
                    "reason": "NonZeroExitCode",
                    "message": message,
                    "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
                })
            );
            for version in TEXT {
                assert_eq!(status(&outcome, version), Some(message.clone().into()), "{version:?}");
            }
        }
    }

    #[test]
    fn failures_have_the_reason_and_code_that_fit() {
        for (kind, reason, code) in [
            (ErrorKind::Invalid, "BadRequest", 400),
            (ErrorKind::Unsupported, "InternalError", 500),
            (ErrorKind::NotFound, "NotFound", 404),
            (ErrorKind::Conflict, "Conflict", 409),
            (ErrorKind::Unauthenticated, "InternalError", 500),
            (ErrorKind::PermissionDenied, "Forbidden", 403),
            (ErrorKind::Exhausted, "TooManyRequests", 429),
            (ErrorKind::Unavailable, "ServiceUnavailable", 503),
            (ErrorKind::Internal, "InternalError", 500),
        ] {
            let outcome = Outcome::Failed(Error::new(kind, "no \"shell\""));
            assert_eq!(
                json_of(&outcome),
                json!({ "metadata": {}, "status": "Failure", "reason": reason, "message": "no \"shell\"", "code": code })
            );
            for version in TEXT {
                assert_eq!(status(&outcome, version), Some("no \"shell\"".into()), "{version:?}");
            }
        }
    }

    #[test]
    fn a_session_that_was_given_up_is_no_success() {
        assert_eq!(json_of(&Outcome::Abandoned)["reason"], "ServiceUnavailable");
        for version in TEXT {
            assert_eq!(status(&Outcome::Abandoned, version), Some(ABANDONED.into()), "{version:?}");
        }
    }
}
