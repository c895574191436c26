// SPDX-License-Identifier: Apache-2.0
//! No secret is printed by `Debug`, whatever message it is in.

use std::fmt::Debug;

use husk_proto::{cri, husk};
use prost::Message;
use protox::prost_reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

/// A text that occurs nowhere else.
const SECRET: &str = "canary-7f3a";

/// Both forms of `{:?}`.
fn printed(message: &impl Debug) -> String {
    format!("{message:?} {message:#?}")
}

/// What the message of that full name prints after it was decoded from the bytes.
fn print_decoded(name: &str, bytes: &[u8]) -> String {
    fn print<M: Message + Default + Debug>(bytes: &[u8]) -> String {
        printed(&M::decode(bytes).expect("the bytes decode"))
    }
    match name {
        "runtime.v1.AuthConfig" => print::<cri::AuthConfig>(bytes),
        "runtime.v1.KeyValue" => print::<cri::KeyValue>(bytes),
        "runtime.v1.ExecResponse" => print::<cri::ExecResponse>(bytes),
        "runtime.v1.AttachResponse" => print::<cri::AttachResponse>(bytes),
        "runtime.v1.PortForwardResponse" => print::<cri::PortForwardResponse>(bytes),
        other => panic!("{other} has a secret and no case in this test"),
    }
}

/// The fields that are marked as secrets in the .proto files.
fn secret_fields() -> Vec<FieldDescriptor> {
    let mut compiler = protox::Compiler::new(["proto"]).expect("the directory exists");
    let files = ["runtime/v1/api.proto", "husk/v1/husk.proto"];
    compiler.open_files(files).expect("the files compile");
    let pool = compiler.descriptor_pool();
    let fields: Vec<_> = pool.all_messages().flat_map(|m| m.fields().collect::<Vec<_>>()).collect();
    let marked = |field: &FieldDescriptor| field.options().has_field_by_name("debug_redact");
    fields.into_iter().filter(marked).collect()
}

#[test]
fn each_marked_field_is_redacted() {
    for field in secret_fields() {
        let value = match field.kind() {
            Kind::String => Value::String(SECRET.into()),
            Kind::Bytes => Value::Bytes(SECRET.into()),
            other => panic!("{}: {other:?} holds no text", field.full_name()),
        };
        let mut message = DynamicMessage::new(field.parent_message().clone());
        message.set_field(&field, value);
        let text = print_decoded(field.parent_message().full_name(), &message.encode_to_vec());
        assert!(!text.contains(SECRET), "{}: {text}", field.full_name());
        assert!(text.contains("<redacted>"), "{}: {text}", field.full_name());
    }
}

#[test]
fn the_marked_fields_are_the_known_secrets() {
    let names: Vec<_> = secret_fields().iter().map(|field| field.full_name().to_owned()).collect();
    let expected = [
        "runtime.v1.KeyValue.value",
        "runtime.v1.ExecResponse.url",
        "runtime.v1.AttachResponse.url",
        "runtime.v1.PortForwardResponse.url",
        "runtime.v1.AuthConfig.password",
        "runtime.v1.AuthConfig.auth",
        "runtime.v1.AuthConfig.identity_token",
        "runtime.v1.AuthConfig.registry_token",
    ];
    assert_eq!(names, expected);
}

/// Credentials with a secret in every secret field.
fn auth() -> cri::AuthConfig {
    cri::AuthConfig {
        username: "alice".into(),
        password: SECRET.into(),
        auth: SECRET.into(),
        server_address: "registry.example".into(),
        identity_token: SECRET.into(),
        registry_token: SECRET.into(),
    }
}

#[test]
fn what_is_no_secret_is_printed() {
    assert_eq!(
        format!("{:?}", auth()),
        "AuthConfig { username: \"alice\", password: <redacted>, auth: <redacted>, \
         server_address: \"registry.example\", identity_token: <redacted>, \
         registry_token: <redacted> }"
    );
    let anonymous = format!("{:?}", cri::AuthConfig::default());
    assert!(!anonymous.contains("<redacted>"), "{anonymous}");
}

#[test]
fn messages_that_contain_a_secret_print_none() {
    let config = cri::ContainerConfig {
        envs: vec![cri::KeyValue { key: "TOKEN".into(), value: SECRET.into() }],
        ..Default::default()
    };
    let of_the_cri = cri::PullImageRequest { auth: Some(auth()), ..Default::default() };
    let our_own = husk::PullImageRequest { reference: "nginx".into(), auth: Some(auth()) };
    let create = cri::CreateContainerRequest { config: Some(config.clone()), ..Default::default() };
    let restore = cri::RestorePodRequest { container_configs: vec![config], ..Default::default() };
    let texts = [
        printed(&of_the_cri),
        printed(&our_own),
        printed(&tonic::Request::new(our_own.clone())),
        printed(&create),
        printed(&restore),
    ];
    for text in texts {
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("<redacted>"), "{text}");
    }
}

#[test]
fn secrets_still_travel() {
    let bytes = auth().encode_to_vec();
    let decoded = cri::AuthConfig::decode(bytes.as_slice()).expect("the bytes decode");
    assert_eq!(decoded.password, SECRET);
    assert_eq!(decoded, auth());
}
