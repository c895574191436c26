// SPDX-License-Identifier: Apache-2.0
//! The compiled package `runtime.v1` is exactly what `cri-v1.tsv` lists: nothing is missing, nothing
//! is extra, and all names, numbers, types and deprecations are the same.
//!
//! Both sides become sets of rows in the table's form, and the test prints their difference.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

/// The protocol as a table: kind, owner, number, name, type, note.
const TABLE: &str = include_str!("../cri-v1.tsv");

/// The package that the table lists.
const PACKAGE: &str = "runtime.v1";

/// One row of the table; an absent column is empty.
type Row = [String; 6];

/// The rows of a table without its heading.
///
/// Panics on a row that is not one and on one that is there twice, for a set would hide both.
fn parse_table(table: &str) -> BTreeSet<Row> {
    let mut rows = BTreeSet::new();
    for line in table.lines().skip(1) {
        let columns: Vec<String> = line.split('\t').map(String::from).collect();
        let row: Row = columns.try_into().expect("a row has six columns");
        assert!(rows.insert(row), "the table has this row twice: {line}");
    }
    rows
}

fn row(kind: &str, owner: &str, number: &str, name: &str, ty: &str, note: &str) -> Row {
    [kind, owner, number, name, ty, note].map(String::from)
}

/// The compiled file of the CRI.
fn cri_file() -> FileDescriptorProto {
    let set = FileDescriptorSet::decode(husk_proto::DESCRIPTORS).expect("the descriptors decode");
    let mut files = set.file.into_iter().filter(|file| file.package() == PACKAGE);
    let file = files.next().expect("the CRI's package is compiled");
    assert_eq!(files.next(), None, "the package is one file");
    file
}

/// The rows that a compiled file amounts to.
fn rows_of(file: &FileDescriptorProto) -> BTreeSet<Row> {
    assert_eq!(file.syntax(), "proto3");
    assert!(file.dependency.is_empty() && file.extension.is_empty());
    let mut rows = BTreeSet::new();
    for service in &file.service {
        rpc_rows(service, &mut rows);
    }
    for ty in &file.enum_type {
        enum_rows("", ty, &mut rows);
    }
    for message in &file.message_type {
        message_rows(message, &mut rows);
    }
    rows
}

/// A type's name without the package: `.runtime.v1.Mount` is `Mount`.
fn local(name: &str) -> &str {
    name.strip_prefix(&format!(".{PACKAGE}.")).expect("the CRI uses its own types only")
}

fn rpc_rows(service: &ServiceDescriptorProto, rows: &mut BTreeSet<Row>) {
    let stream = |yes| if yes { "stream " } else { "" };
    for method in &service.method {
        let ty = format!(
            "{}{} -> {}{}",
            stream(method.client_streaming()),
            local(method.input_type()),
            stream(method.server_streaming()),
            local(method.output_type()),
        );
        rows.insert(row("rpc", service.name(), "", method.name(), &ty, ""));
    }
}

fn enum_rows(prefix: &str, ty: &EnumDescriptorProto, rows: &mut BTreeSet<Row>) {
    let owner = format!("{prefix}{}", ty.name());
    for value in &ty.value {
        let deprecated = value.options.as_ref().is_some_and(|o| o.deprecated());
        let note = if deprecated { "deprecated" } else { "" };
        let number = value.number().to_string();
        rows.insert(row("enum", &owner, &number, value.name(), "", note));
    }
}

fn message_rows(message: &DescriptorProto, rows: &mut BTreeSet<Row>) {
    let owner = message.name();
    if message.field.is_empty() {
        rows.insert(row("message", owner, "", "", "", ""));
    }
    for field in &message.field {
        let ty = field_type(message, field);
        let (number, note) = (field.number().to_string(), field_note(field));
        rows.insert(row("field", owner, &number, field.name(), &ty, &note));
    }
    for ty in &message.enum_type {
        enum_rows(&format!("{owner}."), ty, rows);
    }
    for nested in message.nested_type.iter().filter(|m| !is_map_entry(m)) {
        // The table has no such thing; its row makes it a difference.
        let name = format!("{owner}.{}", nested.name());
        rows.insert(row("message", &name, "", "", "", "nested"));
    }
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|o| o.map_entry())
}

/// Everything about a field that changes its meaning beyond name, number and type.
fn field_note(field: &FieldDescriptorProto) -> String {
    let mut notes = Vec::new();
    if field.options.as_ref().is_some_and(|o| o.deprecated()) {
        notes.push("deprecated");
    }
    if field.options.as_ref().is_some_and(|o| o.packed.is_some()) {
        notes.push("packed by hand");
    }
    if field.oneof_index.is_some() {
        notes.push("optional or oneof");
    }
    notes.join(", ")
}

/// A field's type as the table writes it.
fn field_type(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let entry = message.nested_type.iter().find(|nested| {
        let full = format!(".{PACKAGE}.{}.{}", message.name(), nested.name());
        is_map_entry(nested) && full == field.type_name()
    });
    if let Some(entry) = entry {
        let (key, value) = (&entry.field[0], &entry.field[1]);
        return format!("map<{}, {}>", single_type(key), single_type(value));
    }
    match field.label() {
        Label::Repeated => format!("repeated {}", single_type(field)),
        Label::Optional => single_type(field),
        Label::Required => panic!("proto3 has no required fields"),
    }
}

/// The type of one value of a field.
fn single_type(field: &FieldDescriptorProto) -> String {
    let scalar = match field.r#type() {
        Type::Message | Type::Enum => local(field.type_name()),
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Uint32 => "uint32",
        Type::Uint64 => "uint64",
        Type::Double => "double",
        other => other.as_str_name(),
    };
    scalar.to_owned()
}

/// One line for each row that only one side has.
fn differences(table: &BTreeSet<Row>, compiled: &BTreeSet<Row>) -> Vec<String> {
    let missing = table.difference(compiled);
    let extra = compiled.difference(table);
    missing
        .map(|row| format!("missing in api.proto: {}", row.join("\t")))
        .chain(extra.map(|row| format!("extra in api.proto: {}", row.join("\t"))))
        .collect()
}

#[test]
fn api_proto_is_the_table() {
    let table = parse_table(TABLE);
    let found = differences(&table, &rows_of(&cri_file()));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn table_is_complete() {
    let table = parse_table(TABLE);
    let count = |kind: &str| table.iter().filter(|row| row[0] == kind).count();
    // CRI v1 of Kubernetes 1.37; a table that lost its end would otherwise agree with a lost proto.
    let counts = ["rpc", "enum", "field", "message"].map(count);
    assert_eq!(counts, [43, 95, 478, 18]);
}

#[test]
fn each_changed_row_is_reported() {
    let table = parse_table(TABLE);
    let compiled = rows_of(&cri_file());
    for original in &table {
        for column in 0..original.len() {
            let mut changed = original.clone();
            changed[column].push_str("_x");
            let mut other = table.clone();
            other.remove(original);
            other.insert(changed.clone());
            let expected = vec![
                format!("missing in api.proto: {}", changed.join("\t")),
                format!("extra in api.proto: {}", original.join("\t")),
            ];
            assert_eq!(differences(&other, &compiled), expected);
        }
    }
}

#[test]
fn each_lost_row_is_reported() {
    let table = parse_table(TABLE);
    let compiled = rows_of(&cri_file());
    for lost in &table {
        let mut fewer = table.clone();
        fewer.remove(lost);
        assert_eq!(differences(&fewer, &compiled).len(), 1, "{lost:?}");
        let mut fewer = compiled.clone();
        fewer.remove(lost);
        assert_eq!(differences(&table, &fewer).len(), 1, "{lost:?}");
    }
}

/// An edit of the proto file.
type Change = fn(&mut FileDescriptorProto);

/// What the table says about a proto file with one change in it.
fn after(change: impl FnOnce(&mut FileDescriptorProto)) -> Vec<String> {
    let mut file = cri_file();
    change(&mut file);
    differences(&parse_table(TABLE), &rows_of(&file))
}

fn message<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut DescriptorProto {
    let mut messages = file.message_type.iter_mut();
    messages.find(|m| m.name() == name).expect("the message exists")
}

fn field<'a>(file: &'a mut FileDescriptorProto, owner: &str, name: &str) -> &'a mut FieldDescriptorProto {
    let mut fields = message(file, owner).field.iter_mut();
    fields.find(|f| f.name() == name).expect("the field exists")
}

#[test]
fn each_kind_of_change_in_the_proto_is_reported() {
    assert!(after(|_| ()).is_empty());
    let changes: Vec<(&str, Change)> = vec![
        ("number", |f| field(f, "Mount", "uidMappings").number = Some(60)),
        ("name", |f| {
            field(f, "ContainerConfig", "CDI_devices").name = Some("cdi_devices".into());
        }),
        ("type", |f| field(f, "KeyValue", "value").set_type(Type::String)),
        ("sign", |f| field(f, "Image", "size").set_type(Type::Int64)),
        ("label", |f| field(f, "DNSConfig", "servers").set_label(Label::Optional)),
        ("deprecation lost", |f| {
            field(f, "LinuxContainerSecurityContext", "apparmor_profile").options = None;
        }),
        ("deprecation added", |f| {
            let options = field(f, "Image", "id").options.get_or_insert_default();
            options.deprecated = Some(true);
        }),
        ("packing", |f| {
            let ids = field(f, "LinuxContainerUser", "supplemental_groups");
            ids.options.get_or_insert_default().packed = Some(false);
        }),
        ("presence", |f| field(f, "Image", "id").oneof_index = Some(0)),
        ("map value", |f| {
            let entry = &mut message(f, "PodSandboxConfig").nested_type[0];
            entry.field[1].set_type(Type::Bytes);
        }),
        ("enum number", |f| f.enum_type[0].value[1].number = Some(9)),
        ("nested enum", |f| message(f, "SecurityProfile").enum_type.clear()),
        ("nested message", |f| {
            let image = message(f, "Image");
            image.nested_type.push(DescriptorProto::default());
        }),
        ("empty message", |f| {
            f.message_type.retain(|m| m.name() != "StopContainerResponse");
        }),
        ("rpc", |f| drop(f.service[0].method.pop())),
        ("stream", |f| f.service[1].method[0].server_streaming = Some(true)),
        ("request", |f| {
            f.service[1].method[0].input_type = Some(".runtime.v1.Image".into());
        }),
    ];
    for (name, change) in changes {
        assert!(!after(change).is_empty(), "not reported: {name}");
    }
}
