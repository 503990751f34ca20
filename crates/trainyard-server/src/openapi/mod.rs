//! The description of the API: OpenAPI 3.1, made from the endpoints' own annotations and wire types.
//!
//! The body of `POST /jobs` is described by hand in `job_request.json`, since the specification's type belongs to a
//! crate that knows nothing of the web; a test holds the two together.

use std::borrow::Cow;
use std::collections::BTreeMap;

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi as _, PartialSchema, ToSchema};

use crate::endpoints as e;
use crate::wire;

/// The body of `POST /jobs`, as described.
#[derive(Debug)]
pub(crate) struct JobRequest;

impl PartialSchema for JobRequest {
    fn schema() -> RefOr<Schema> {
        serde_json::from_str(include_str!("job_request.json"))
            .unwrap_or_else(|_| RefOr::T(Schema::Object(Object::new())))
    }
}

impl ToSchema for JobRequest {
    fn name() -> Cow<'static, str> {
        "JobRequest".into()
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Trainyard", description = "Training jobs on your machine and on rented ones.", license(name = "Apache-2.0", identifier = "Apache-2.0"), contact()),
    paths(
        e::create_job::handle, e::list_jobs::handle, e::get_job::handle, e::patch_job::handle, e::delete_job::handle,
        e::status::handle, e::submit::handle, e::cancel::handle, e::pause::handle, e::resume::handle,
        e::clone_job::handle, e::validate::handle, e::download_artifact::handle, e::verify_artifact::handle,
        e::agent::handle, e::exec::handle, e::ssh::handle, e::artifact_file::handle, e::metrics::handle, e::logs::handle, e::events::handle, e::notifications::handle,
        e::websocket::handle, e::estimates::handle, e::put_input::handle, e::head_input::handle,
        e::list_secrets::handle, e::put_secret::handle, e::delete_secret::handle, e::providers::handle,
        e::offers::handle, e::resources::handle, e::release_machine::handle, e::healthz::handle, e::readyz::handle, e::prometheus::handle,
    ),
    components(schemas(wire::ErrorBody)),
    tags(
        (name = "jobs", description = "From specification to artifact"),
        (name = "artifacts", description = "What a training leaves behind"),
        (name = "telemetry", description = "What happens while it runs"),
        (name = "inputs", description = "Files that jobs use"),
        (name = "secrets", description = "Write-only values"),
        (name = "providers", description = "Where jobs run, and what that costs"),
        (name = "server", description = "The server itself"),
    ),
    modifiers(&Common),
)]
struct Document;

/// The whole document.
pub fn document() -> OpenApi {
    Document::openapi()
}

/// What every operation has.
struct Common;

/// A bearer token has no scopes.
const NO_SCOPES: [&str; 0] = [];

/// Errors that any call of the API may answer with.
const ERRORS: [(&str, &str); 11] = [
    ("400", "Bad input or state"),
    ("401", "A token is needed, or it is wrong"),
    ("403", "This `Host` or `Origin` is not allowed"),
    ("404", "No such job, file or path"),
    ("408", "The body did not come in time"),
    ("409", "It exists already, or the `Idempotency-Key` was used for something else"),
    ("411", "The length of the body is not known"),
    ("413", "The body is too large"),
    ("415", "The body is not JSON"),
    ("500", "A provider or the server failed"),
    ("503", "The server is going down, or its storage fails"),
];

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.security_schemes.insert("token".to_owned(), RefOr::T(SecurityScheme::Http(scheme)));
        for (name, schema) in &mut components.schemas {
            // What comes in may be left out, what goes out may not.
            if !name.ends_with("Request") {
                require_all(schema);
            }
        }
        // Without a token where there is none yet.
        document.security =
            Some(vec![SecurityRequirement::default(), SecurityRequirement::new("token", NO_SCOPES)]);
        for item in document.paths.paths.values_mut() {
            if let Some(operation) = &mut item.post {
                operation.parameters.get_or_insert_default().push(RefOr::T(idempotency_key()));
                left_out_is_not_null(operation);
            }
            let operations = [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
                &mut item.head,
                &mut item.patch,
            ];
            for operation in operations.into_iter().flatten() {
                add_errors(operation);
            }
        }
    }
}

/// Fields of answers are null where they have no value, never absent; but for the one that only a 410 has.
fn require_all(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema {
        object.required = object.properties.keys().filter(|name| *name != "oldest_seq").cloned().collect();
    }
}

/// A body that may be left out is described as one that may be `null`, which is refused.
fn left_out_is_not_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(one))) = &content.schema {
            content.schema = one.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
        }
    }
}

fn idempotency_key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some("The same key with the same request gets the same answer, for 24 hours"))
        .schema(Some(Object::with_type(Type::String)))
        .build()
}

fn add_errors(operation: &mut Operation) {
    let known: &mut BTreeMap<String, RefOr<Response>> = &mut operation.responses.responses;
    for (status, description) in ERRORS {
        known.entry(status.to_owned()).or_insert_with(|| {
            let body = Content::new(Some(Ref::from_schema_name("ErrorBody")));
            RefOr::T(
                ResponseBuilder::new().description(description).content("application/json", body).build(),
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use trainyard_domain::JobSpec;

    use super::*;

    /// Every field of a specification is described, and nothing else.
    fn same_fields(described: &Value, real: &Value, at: &str) {
        let Value::Object(fields) = real else { return };
        if described.get("additionalProperties") != Some(&Value::Bool(false)) {
            return;
        }
        let properties = described["properties"].as_object().unwrap();
        let mut names: Vec<&str> =
            properties.keys().map(String::as_str).filter(|name| *name != "job_id").collect();
        let mut expected: Vec<&str> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "fields of `{at}`");
        for (name, value) in fields {
            same_fields(&properties[name], value, name);
            if let Some(default) = properties[name].get("default") {
                let equal = default == value || default.as_f64().is_some_and(|d| Some(d) == value.as_f64());
                assert!(equal, "default of `{at}.{name}`: described {default}, real {value}");
            }
        }
    }

    #[test]
    fn the_described_specification_is_the_real_one() {
        let described: Value = serde_json::from_str(include_str!("job_request.json")).unwrap();
        let real = serde_json::to_value(JobSpec::new("trainyard-tiny")).unwrap();
        same_fields(&described, &real, "spec");
    }

    #[test]
    fn the_document_names_every_call() {
        let document = serde_json::to_value(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["title"], "Trainyard");
        let mut calls: Vec<String> = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["responses"]["500"].is_object(), "{method} {path}");
                calls.push(format!("{method} {path}"));
            }
        }
        calls.sort();
        insta::assert_snapshot!(calls.join("\n"));
        let request = &document["components"]["schemas"]["JobRequest"];
        assert!(request["properties"]["hyperparameters"]["properties"]["lora_r"].is_object(), "{request}");
    }

    #[test]
    fn what_goes_out_is_whole_and_who_may_call_is_said() {
        let document = serde_json::to_value(document()).unwrap();
        let status = &document["components"]["schemas"]["StatusAnswer"];
        let required = status["required"].as_array().unwrap();
        assert_eq!(required.len(), status["properties"].as_object().unwrap().len());
        let schemas = &document["components"]["schemas"];
        assert!(!schemas["ErrorBody"]["required"].as_array().unwrap().contains(&"oldest_seq".into()));
        assert_eq!(schemas["SubmitRequest"]["required"], serde_json::json!(["provider"]));
        assert_eq!(document["security"], serde_json::json!([{}, {"token": []}]));
        let parameters = &document["paths"]["/api/training/jobs"]["post"]["parameters"];
        assert_eq!(parameters[0]["name"], "Idempotency-Key");
        assert_eq!(parameters[0]["required"], false);
        let clone = &document["paths"]["/api/training/jobs/{job_id}/clone"]["post"]["requestBody"];
        assert_ne!(clone["required"], true);
        let schema = &clone["content"]["application/json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/CloneRequest");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
