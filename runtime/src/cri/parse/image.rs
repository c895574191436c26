// SPDX-License-Identifier: Apache-2.0
//! Image names and credentials.

use image::{AuthFields, Credentials, Reference};
use proto::cri;
use tonic::Status;

use super::pod::runtime_handler;
use super::{Field, Refusal, strings};
use crate::cri::status;

/// What `ImageSpec` names: an id or a reference.
pub(crate) fn image_name(field: &Field<'_>, spec: Option<&cri::ImageSpec>) -> Result<String, Refusal> {
    let spec = field.required(spec)?;
    runtime_handler(&field.then("runtime_handler"), &spec.runtime_handler)?;
    let name = field.then("image");
    if spec.image.is_empty() {
        return Err(name.invalid("it is empty; name an image"));
    }
    strings::name(&name, &spec.image)
}

/// The reference that a pull wants.
pub(crate) fn reference(field: &Field<'_>, spec: Option<&cri::ImageSpec>) -> Result<Reference, Status> {
    let name = image_name(field, spec)?;
    Reference::parse(&name).map_err(|error| status::image(&error))
}

/// The one image that a filter asks for; `None` for all.
pub(crate) fn wanted_image(filter: Option<&cri::ImageFilter>) -> Result<Option<String>, Refusal> {
    let field = Field::of_request("filter");
    match filter.and_then(|filter| filter.image.as_ref()) {
        Some(spec) if !spec.image.is_empty() => image_name(&field.then("image"), Some(spec)).map(Some),
        _ => Ok(None),
    }
}

/// The credentials of a pull; `None` for an anonymous one.
pub(crate) fn credentials(auth: Option<&cri::AuthConfig>) -> Result<Option<Credentials>, Status> {
    let Some(auth) = auth else { return Ok(None) };
    let fields = AuthFields {
        username: &auth.username,
        password: &auth.password,
        auth: &auth.auth,
        server_address: &auth.server_address,
        identity_token: &auth.identity_token,
        registry_token: &auth.registry_token,
    };
    Credentials::from_fields(&fields).map_err(|error| status::image(&error))
}
