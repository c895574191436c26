// SPDX-License-Identifier: Apache-2.0
//! From what a failing plugin leaves behind to one sentence.
//!
//! A plugin should print an error object (CNI "Section 5: Result Types", "Error"); many print text, some
//! die without a word, and some print the object and exit with 0.

use std::process::ExitStatus;

use serde::Deserialize;

use crate::limits;

/// What went wrong, in the plugin's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: Option<u64>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: Option<u64>,
    msg: Option<String>,
    details: Option<String>,
}

/// What the plugin says to have failed at, if it does: an exit status other than 0, or an error object.
pub(crate) fn of(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Option<Failure> {
    let object = serde_json::from_slice::<ErrorObject>(stdout).ok();
    match object {
        Some(error) if error.code.is_some_and(|code| code != 0) => Some(from_object(&error)),
        // Without a code it is an error only if the exit status says so.
        Some(error) if !status.success() && error.msg.is_some() => Some(from_object(&error)),
        _ if status.success() => None,
        _ => Some(from_text(status, stdout, stderr)),
    }
}

fn from_object(error: &ErrorObject) -> Failure {
    let mut message = one_line(error.msg.as_deref().unwrap_or_default().as_bytes());
    let details = one_line(error.details.as_deref().unwrap_or_default().as_bytes());
    if message.is_empty() {
        message = "it gave no message".into();
    }
    if !details.is_empty() {
        message = format!("{message} ({details})");
    }
    if let Some(code) = error.code {
        message = format!("{message} [code {code}]");
    }
    Failure { message, code: error.code }
}

fn from_text(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Failure {
    let said = [stderr, stdout]
        .into_iter()
        .map(one_line)
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| "it said nothing".into());
    Failure { message: format!("{status}, {said}"), code: None }
}

/// The end of a text as one line without control characters: it goes into errors and terminals.
pub(crate) fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let line = line.trim_end_matches('.');
    let count = line.chars().count();
    if count <= limits::MESSAGE_CHARS {
        return line.into();
    }
    // The cause stands at the end of a chain of wrapped errors.
    let end: String = line.chars().skip(count - limits::MESSAGE_CHARS).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const FAILED: i32 = 1 << 8;

    #[track_caller]
    fn check(wait_status: i32, stdout: &str, stderr: &str, expected: Option<&str>) {
        let status = ExitStatus::from_raw(wait_status);
        let got = of(status, stdout.as_bytes(), stderr.as_bytes()).map(|failure| failure.message);
        assert_eq!(got.as_deref(), expected);
    }

    #[test]
    fn failures() {
        let object = r#"{"cniVersion":"1.0.0","code":11,"msg":"no address\nis free.","details":"of 2"}"#;
        let said = Some("no address is free (of 2) [code 11]");
        check(FAILED, object, "noise", said);
        check(0, object, "", said);
        check(FAILED, r#"{"msg":"just so"}"#, "", Some("just so"));
        check(FAILED, r#"{"code":7}"#, "", Some("it gave no message [code 7]"));
        check(0, r#"{"cniVersion":"1.0.0","ips":[]}"#, "noise", None);
        check(0, r#"{"code":0,"msg":"fine"}"#, "", None);
        check(0, "", "", None);
        check(FAILED, "", "", Some("exit status: 1, it said nothing"));
        check(FAILED, "{", "panic:\tboom\n", Some("exit status: 1, panic: boom"));
        check(FAILED, "only\u{1b}[31m stdout", "", Some("exit status: 1, only [31m stdout"));
        check(9, "", "", Some("signal: 9 (SIGKILL), it said nothing"));
    }

    #[test]
    fn a_long_message_keeps_its_end() {
        let line = one_line(format!("{}the cause", "x ".repeat(5000)).as_bytes());
        assert!(line.starts_with('…') && line.ends_with("x the cause"));
        assert_eq!(line.chars().count(), limits::MESSAGE_CHARS + 1);
    }
}
