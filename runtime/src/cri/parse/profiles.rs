// SPDX-License-Identifier: Apache-2.0
//! Seccomp and AppArmor profiles, in the form of today and in the deprecated one.

use proto::cri;
use proto::cri::security_profile::ProfileType;

use super::{Field, Refusal, strings};

/// Which profile is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Nobody said: unconfined for seccomp, the runtime's default for AppArmor.
    Unset,
    /// None.
    Unconfined,
    /// The runtime's own.
    RuntimeDefault,
    /// A file or a loaded profile of the node.
    Localhost,
}

impl Profile {
    /// Reads a profile; the field of today wins over the deprecated text.
    pub(crate) fn read(
        field: &Field<'_>,
        profile: Option<&cri::SecurityProfile>,
        deprecated: &Field<'_>,
        text: &str,
    ) -> Result<Self, Refusal> {
        match profile {
            Some(profile) => typed(field, profile),
            None => written(deprecated, text),
        }
    }
}

fn typed(field: &Field<'_>, profile: &cri::SecurityProfile) -> Result<Profile, Refusal> {
    let reference = field.then("localhost_ref");
    let named = strings::one_line(&reference, &profile.localhost_ref)?;
    match ProfileType::try_from(profile.profile_type) {
        Ok(ProfileType::Localhost) if named.is_empty() => Err(reference.invalid("it is empty; name the profile")),
        Ok(ProfileType::Localhost) => Ok(Profile::Localhost),
        Ok(ProfileType::RuntimeDefault) => Ok(Profile::RuntimeDefault),
        Ok(ProfileType::Unconfined) => Ok(Profile::Unconfined),
        Err(_) => {
            let number = profile.profile_type;
            Err(field.then("profile_type").invalid(format!("{number} is not a profile type; they are 0 to 2")))
        }
    }
}

fn written(field: &Field<'_>, text: &str) -> Result<Profile, Refusal> {
    match text {
        "" => Ok(Profile::Unset),
        "unconfined" => Ok(Profile::Unconfined),
        "runtime/default" | "docker/default" => Ok(Profile::RuntimeDefault),
        _ if text.strip_prefix("localhost/").is_some_and(|name| !name.is_empty()) => {
            strings::one_line(field, text).map(|_| Profile::Localhost)
        }
        _ => Err(field.invalid("it is none of unconfined, runtime/default and localhost/<profile>")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(profile: Option<(i32, &str)>, text: &str) -> Result<Profile, Refusal> {
        let profile = profile
            .map(|(profile_type, reference)| cri::SecurityProfile { profile_type, localhost_ref: reference.into() });
        Profile::read(&Field::of_request("seccomp"), profile.as_ref(), &Field::of_request("seccomp_profile_path"), text)
    }

    #[test]
    fn both_forms() {
        let table = [
            (None, "", Profile::Unset),
            (None, "unconfined", Profile::Unconfined),
            (None, "runtime/default", Profile::RuntimeDefault),
            (None, "docker/default", Profile::RuntimeDefault),
            (None, "localhost//a.json", Profile::Localhost),
            (Some((0, "")), "unconfined", Profile::RuntimeDefault),
            (Some((1, "")), "runtime/default", Profile::Unconfined),
            (Some((2, "/a.json")), "", Profile::Localhost),
        ];
        for (profile, text, expected) in table {
            assert_eq!(read(profile, text), Ok(expected), "{profile:?} {text}");
        }
        let wrong = [
            (None, "localhost/", "seccomp_profile_path"),
            (None, "default", "seccomp_profile_path"),
            (None, "localhost/a\nb", "seccomp_profile_path"),
            (Some((2, "")), "", "seccomp.localhost_ref"),
            (Some((2, "a\0")), "", "seccomp.localhost_ref"),
            (Some((3, "")), "", "seccomp.profile_type"),
            (Some((-1, "")), "", "seccomp.profile_type"),
        ];
        for (profile, text, field) in wrong {
            let refusal = read(profile, text).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("{field}: ")), "{refusal}");
        }
    }
}
