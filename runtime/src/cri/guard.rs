// SPDX-License-Identifier: Apache-2.0
//! What surrounds every call: a log line, and a wall that keeps a panic to the one call that met it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;
use tonic::{Code, Response, Status};

use super::status;

/// Carries out one call: logs how it ended, and turns a panic into `Internal` for this call only.
pub(crate) async fn guarded<T>(
    rpc: &'static str,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let begun = Instant::now();
    // A handler that panicked is dropped whole. What it shares with others is behind locks of the crates below, which
    // hold across no await and change nothing that a panic could leave half done.
    let result = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => {
            let what = words(panic.as_ref());
            tracing::error!(rpc, panic = what, "end a call that panicked");
            Err(status::of(Code::Internal, &format!("a fault of husk itself ended {rpc}: {what}; please report it")))
        }
    };
    let elapsed = begun.elapsed();
    match &result {
        Ok(_) => tracing::debug!(rpc, ?elapsed, "answer a call"),
        // What a client asks about before it knows better is no news to an operator.
        Err(failed) if matches!(failed.code(), Code::Unimplemented | Code::NotFound) => {
            tracing::debug!(rpc, ?elapsed, code = ?failed.code(), error = failed.message(), "refuse a call");
        }
        Err(failed) => {
            tracing::info!(rpc, ?elapsed, code = ?failed.code(), error = failed.message(), "fail a call");
        }
    }
    result.map(Response::new)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_internal_for_that_call_only() {
        let failed = guarded::<()>("Version", async { panic!("broken {}", 7) }).await.unwrap_err();
        assert_eq!(failed.code(), Code::Internal);
        assert!(failed.message().contains("Version") && failed.message().contains("broken 7"), "{failed}");
        assert_eq!(guarded("Version", async { Ok(3) }).await.unwrap().into_inner(), 3);
        let not_found = guarded::<()>("Version", async { Err(Status::not_found("x")) }).await.unwrap_err();
        assert_eq!(not_found.code(), Code::NotFound);
    }
}
