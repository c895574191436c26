// SPDX-License-Identifier: Apache-2.0
//! Errors to gRPC status: from their kind, in one place, and never from their text.
//!
//! Only a few codes matter to the kubelet: NotFound, Unimplemented, and DeadlineExceeded of ExecSync, which makes a
//! probe fail. Of a failed pull it reads the first word of the message (`RegistryUnavailable`), which the image
//! store's own errors begin with.

use sandbox::Kind;
use tonic::{Code, Status};

use crate::limits;

/// The code for a kind of failure.
pub(crate) fn code(kind: Kind) -> Code {
    match kind {
        Kind::NotFound => Code::NotFound,
        Kind::InvalidInput => Code::InvalidArgument,
        Kind::WrongState => Code::FailedPrecondition,
        Kind::Unsupported => Code::Unimplemented,
        Kind::Timeout => Code::DeadlineExceeded,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Internal => Code::Internal,
    }
}

/// A status whose message is valid UTF-8 without control characters and short enough for a header.
pub(crate) fn of(code: Code, message: &str) -> Status {
    let mut clean = String::with_capacity(message.len().min(limits::STATUS_BYTES));
    for character in message.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if clean.len() + character.len_utf8() > limits::STATUS_BYTES - '…'.len_utf8() {
            clean.push('…');
            break;
        }
        clean.push(character);
    }
    Status::new(code, clean)
}

/// A failed operation on a pod or a container.
pub(crate) fn sandbox(error: &sandbox::Error) -> Status {
    of(code(error.kind()), &error.to_string())
}

/// A failed operation on an image.
pub(crate) fn image(error: &image::Error) -> Status {
    let code = match error.kind() {
        image::Kind::NotFound => Code::NotFound,
        image::Kind::InvalidInput => Code::InvalidArgument,
        image::Kind::Unauthorized => Code::PermissionDenied,
        image::Kind::Unavailable => Code::Unavailable,
        image::Kind::Corrupt => Code::DataLoss,
        image::Kind::Exhausted => Code::ResourceExhausted,
        image::Kind::Timeout => Code::DeadlineExceeded,
        image::Kind::Unsupported => Code::Unimplemented,
        image::Kind::Internal => Code::Internal,
    };
    of(code, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_code() {
        let table = [
            (Kind::NotFound, Code::NotFound),
            (Kind::InvalidInput, Code::InvalidArgument),
            (Kind::WrongState, Code::FailedPrecondition),
            (Kind::Unsupported, Code::Unimplemented),
            (Kind::Timeout, Code::DeadlineExceeded),
            (Kind::Exhausted, Code::ResourceExhausted),
            (Kind::Unavailable, Code::Unavailable),
            (Kind::Internal, Code::Internal),
        ];
        for (kind, expected) in table {
            assert_eq!(code(kind), expected, "{kind:?}");
        }
    }

    #[test]
    fn an_exec_that_takes_too_long_is_deadline_exceeded() {
        let container = "a".repeat(64).parse().unwrap();
        let error = sandbox::Error::ExecTimeout { container, timeout: std::time::Duration::from_secs(1) };
        assert_eq!(sandbox(&error).code(), Code::DeadlineExceeded);
    }

    #[test]
    fn a_registry_that_is_away_begins_with_the_word_that_the_kubelet_reads() {
        let error = image::Error::Unavailable { host: "r.io".into(), what: "a".into(), cause: "refused".into() };
        let status = image(&error);
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().starts_with("RegistryUnavailable: "), "{}", status.message());
    }

    #[test]
    fn messages_are_short_and_clean() {
        let long = of(Code::Internal, &"ä\n".repeat(limits::STATUS_BYTES));
        assert!(long.message().len() <= limits::STATUS_BYTES);
        assert!(long.message().ends_with('…'));
        let clean = of(Code::Internal, "a\u{1b}[31m\r\nb\0c\u{7f}");
        assert_eq!(clean.message(), "a [31m  b c ");
        assert_eq!(of(Code::Internal, "").message(), "");
    }
}
