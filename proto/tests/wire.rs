// SPDX-License-Identifier: Apache-2.0
//! Messages against bytes that were written by hand from the protobuf encoding specification, so
//! that an error which encoder and decoder share is seen.

use prost::Message;
use std::fmt::Debug;

use husk_proto::cri;

/// A field with a length: tag, length, content. Field numbers up to 15 and lengths up to 127 only.
fn len(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(number < 16 && content.len() < 128);
    let mut bytes = vec![number << 3 | 2, content.len() as u8];
    bytes.extend_from_slice(content);
    bytes
}

/// A field with a varint of one byte. Field numbers up to 15 only.
fn varint(number: u8, value: u8) -> Vec<u8> {
    assert!(number < 16 && value < 128);
    vec![number << 3, value]
}

/// Decodes to the message, and the message encodes to the bytes.
fn check<M: Message + Default + PartialEq + Debug>(bytes: &[u8], expected: &M) {
    assert_eq!(&M::decode(bytes).expect("the bytes decode"), expected);
    assert_eq!(expected.encode_to_vec(), bytes);
}

#[test]
fn run_pod_sandbox_request() {
    let metadata = [len(1, b"web"), len(2, b"u-1"), len(3, b"default"), varint(4, 2)].concat();
    // `-1`, as ten bytes with the sign in the last one.
    let minus_one = [vec![0x18], vec![0xff; 9], vec![0x01]].concat();
    let port = [varint(1, 1), varint(2, 80), minus_one].concat();
    let label = [len(1, b"app"), len(2, b"x")].concat();
    let namespaces = [varint(1, 2), varint(2, 1)].concat();
    let linux = [len(1, b"/pods"), len(2, &len(1, &namespaces))].concat();
    let config = [len(1, &metadata), len(5, &port), len(6, &label), len(8, &linux)].concat();
    let bytes = [len(1, &config), len(2, b"runc")].concat();

    let expected = cri::RunPodSandboxRequest {
        config: Some(cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: "web".into(),
                uid: "u-1".into(),
                namespace: "default".into(),
                attempt: 2,
            }),
            port_mappings: vec![cri::PortMapping {
                protocol: cri::Protocol::Udp.into(),
                container_port: 80,
                host_port: -1,
                host_ip: String::new(),
            }],
            labels: [("app".to_owned(), "x".to_owned())].into(),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: "/pods".into(),
                security_context: Some(cri::LinuxSandboxSecurityContext {
                    namespace_options: Some(cri::NamespaceOption {
                        network: cri::NamespaceMode::Node.into(),
                        pid: cri::NamespaceMode::Container.into(),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        runtime_handler: "runc".into(),
    };
    check(&bytes, &expected);
}

#[test]
fn an_environment_variable_need_not_be_utf8() {
    let variable = [len(1, b"RAW"), len(2, &[0xff, 0x00, 0x80])].concat();
    // Field 18, a varint: the tag takes two bytes.
    let stop_signal = [0x90, 0x01, 13];
    let config = [len(6, &variable), stop_signal.to_vec()].concat();
    let expected = cri::CreateContainerRequest {
        pod_sandbox_id: "p".into(),
        config: Some(cri::ContainerConfig {
            envs: vec![cri::KeyValue { key: "RAW".into(), value: vec![0xff, 0x00, 0x80] }],
            stop_signal: cri::Signal::Sigkill.into(),
            ..Default::default()
        }),
        sandbox_config: None,
    };
    check(&[len(1, b"p"), len(2, &config)].concat(), &expected);
}

#[test]
fn repeated_numbers_are_packed_and_accepted_unpacked() {
    let expected = cri::LinuxContainerUser { uid: 1, gid: 2, supplemental_groups: vec![3, 4] };
    let packed = [varint(1, 1), varint(2, 2), len(3, &[3, 4])].concat();
    check(&packed, &expected);
    let unpacked = [varint(1, 1), varint(2, 2), varint(3, 3), varint(3, 4)].concat();
    let decoded = cri::LinuxContainerUser::decode(unpacked.as_slice());
    assert_eq!(decoded.expect("the bytes decode"), expected);
}

#[test]
fn an_absent_wrapper_is_not_zero() {
    let root =
        cri::LinuxContainerSecurityContext { run_as_user: Some(cri::Int64Value { value: 0 }), ..Default::default() };
    check(&len(5, &[]), &root);
    check(&[], &cri::LinuxContainerSecurityContext::default());
}

#[test]
fn output_is_bytes_and_a_code_may_be_negative() {
    let bytes = [len(1, &[0xfe]), vec![0x18], vec![0xff; 9], vec![0x01]].concat();
    let expected = cri::ExecSyncResponse { stdout: vec![0xfe].into(), stderr: Vec::new().into(), exit_code: -1 };
    check(&bytes, &expected);
}

#[test]
fn pressure_has_the_protocols_odd_numbers() {
    let total = varint(1, 7);
    let avg10 = [vec![0x11], 1.5f64.to_le_bytes().to_vec()].concat();
    let expected =
        cri::PsiStats { full: None, some: Some(cri::PsiData { total: 7, avg10: 1.5, ..Default::default() }) };
    check(&len(2, &[total, avg10].concat()), &expected);
}

#[test]
fn a_newer_clients_field_is_skipped() {
    let bytes = [len(1, b"id"), len(15, b"from the future")].concat();
    let decoded = cri::StopPodSandboxRequest::decode(bytes.as_slice());
    assert_eq!(decoded.expect("the bytes decode").pod_sandbox_id, "id");
}

#[test]
fn what_is_no_message_is_an_error() {
    let cut = [len(1, b"id"), vec![0x12, 5, b'x']].concat();
    assert!(cri::PodSandbox::decode(cut.as_slice()).is_err());
    let not_utf8 = len(1, &[0xff]);
    assert!(cri::StopPodSandboxRequest::decode(not_utf8.as_slice()).is_err());
    let wrong_type = varint(1, 1);
    assert!(cri::StopPodSandboxRequest::decode(wrong_type.as_slice()).is_err());
}
