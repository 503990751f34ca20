//! Requests and answers against the vendors' own OpenAPI documents.
//!
//! The documents are not ours to ship: their folder is named by `TRAINYARD_OPENAPI_DIR`. Without it [`Spec::load`] says
//! aloud that nothing was checked. Where a document is wrong or older than what the vendor does, the case stands in
//! `exceptions` with its reason.
//!
//! Other crates' tests take this module by its path, so it has one way in: load, then check exchanges.

mod exceptions;
mod schema;

use std::path::Path;

use serde_json::Value;

use exceptions::EXCEPTIONS;
use schema::Schemas;

/// The variable that names the folder of the documents.
const FOLDER: &str = "TRAINYARD_OPENAPI_DIR";

/// One request with its answer.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// `GET`.
    pub(crate) method: String,
    /// The path as the document writes it, decoded, without the query: `/v2/pods`.
    pub(crate) path: String,
    /// The query's names and values.
    pub(crate) query: Vec<(String, String)>,
    /// The request's body, where it has one.
    pub(crate) body: Option<Value>,
    /// The answer's status.
    pub(crate) status: u16,
    /// The answer's body, where it is JSON.
    pub(crate) answer: Option<Value>,
}

/// A vendor's document.
#[derive(Debug)]
pub(crate) struct Spec {
    vendor: &'static str,
    doc: Value,
}

impl Spec {
    /// The document of that name (JSON), or nothing, said aloud.
    pub(crate) fn load(vendor: &'static str, file: &str) -> Option<Spec> {
        Spec::load_by(vendor, file, |text| serde_json::from_str(text).map_err(|error| error.to_string()))
    }

    /// The same in another notation.
    pub(crate) fn load_by(
        vendor: &'static str,
        file: &str,
        read: fn(&str) -> Result<Value, String>,
    ) -> Option<Spec> {
        #[expect(clippy::disallowed_methods, reason = "a test asks whether the documents are there")]
        let folder = std::env::var(FOLDER).ok().filter(|folder| !folder.is_empty());
        let Some(folder) = folder else {
            println!("NOT RUN: {vendor} against its OpenAPI document: {FOLDER} names no folder");
            return None;
        };
        let path = Path::new(&folder).join(file);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let doc = read(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Some(Spec { vendor, doc })
    }

    /// What in these exchanges the document does not allow, exceptions left out.
    pub(crate) fn check(&self, exchanges: &[Exchange]) -> Vec<String> {
        let mut problems: Vec<String> =
            exchanges.iter().flat_map(|exchange| self.problems(exchange)).collect();
        let excused = |problem: &String| {
            let mut of_vendor = EXCEPTIONS.iter().filter(|exception| exception.vendor == self.vendor);
            of_vendor.any(|exception| exception.about.iter().all(|text| problem.contains(text)))
        };
        problems.retain(|problem| !excused(problem));
        problems.sort();
        problems.dedup();
        problems
    }

    fn problems(&self, exchange: &Exchange) -> Vec<String> {
        let title = format!("{} {}", exchange.method, exchange.path);
        let Some((template, item)) = self.path(&exchange.path) else {
            return vec![format!("{title}: the document has no such path")];
        };
        let title = format!("{} {template}", exchange.method);
        let Some(operation) = item.get(exchange.method.to_ascii_lowercase()) else {
            return vec![format!("{title}: the document has no such method")];
        };
        let schemas = Schemas::new(&self.doc);
        let mut problems = self.query(&schemas, item, operation, exchange);
        problems.extend(Self::body(&schemas, operation, exchange));
        problems.extend(Self::answer(&schemas, operation, exchange));
        problems.into_iter().map(|problem| format!("{title}: {problem}")).collect()
    }

    /// The template that fits, exact segments before variable ones.
    fn path(&self, path: &str) -> Option<(&str, &Value)> {
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let of: Vec<&str> = template.split('/').collect();
            let same = |(one, other): (&&str, &&str)| one.starts_with('{') || one == other;
            of.len() == segments.len() && of.iter().zip(&segments).all(same)
        };
        let paths = self.doc["paths"].as_object()?.iter();
        let fitting = paths.filter(|(template, _)| fits(template));
        fitting
            .min_by_key(|(template, _)| template.matches('{').count())
            .map(|(name, item)| (name.as_str(), item))
    }

    fn query(
        &self,
        schemas: &Schemas<'_>,
        item: &Value,
        operation: &Value,
        exchange: &Exchange,
    ) -> Vec<String> {
        let lists = [&item["parameters"], &operation["parameters"]];
        let all = lists.into_iter().filter_map(Value::as_array).flatten().map(|one| schemas.resolve(one));
        let known: Vec<&Value> = all.filter(|one| one["in"] == "query").collect();
        let mut problems = Vec::new();
        for (name, value) in &exchange.query {
            let Some(parameter) = known.iter().find(|one| one["name"] == name.as_str()) else {
                problems.push(format!("query `{name}` is not in the document"));
                continue;
            };
            let schema = schemas.resolve(&parameter["schema"]);
            let readings = readings(value, schema["type"] == "array");
            let best = readings
                .iter()
                .map(|reading| schemas.check(&parameter["schema"], reading, ""))
                .min_by_key(Vec::len);
            problems.extend(
                best.unwrap_or_default().into_iter().map(|problem| format!("query `{name}`: {problem}")),
            );
        }
        let missing = known.iter().filter(|one| one["required"] == true);
        let missing =
            missing.filter(|one| !exchange.query.iter().any(|(name, _)| one["name"] == name.as_str()));
        problems.extend(missing.map(|one| format!("query {} is missing", one["name"])));
        problems
    }

    fn body(schemas: &Schemas<'_>, operation: &Value, exchange: &Exchange) -> Vec<String> {
        let request = schemas.resolve(&operation["requestBody"]);
        let schema = &request["content"]["application/json"]["schema"];
        match &exchange.body {
            Some(body) if schema.is_null() => vec![format!("request: a body where none is told of: {body}")],
            Some(body) => prefixed("request", schemas.check(schema, body, "$")),
            None if request["required"] == true => vec!["request: the body is missing".to_owned()],
            None => Vec::new(),
        }
    }

    fn answer(schemas: &Schemas<'_>, operation: &Value, exchange: &Exchange) -> Vec<String> {
        let status = exchange.status.to_string();
        let told = [status.as_str(), "default"].into_iter().find_map(|name| operation["responses"].get(name));
        let Some(told) = told else {
            return vec![format!("answer {status}: the document has no such status")];
        };
        let content = schemas.resolve(told)["content"].as_object();
        let types = ["application/json", "application/problem+json"];
        let schema = content
            .and_then(|content| types.iter().find_map(|name| content.get(*name)))
            .map(|one| &one["schema"]);
        match (&exchange.answer, schema) {
            (Some(answer), Some(schema)) => {
                prefixed(&format!("answer {status}"), schemas.check(schema, answer, "$"))
            }
            (Some(answer), None) => vec![format!("answer {status}: a body where none is told of: {answer}")],
            (None, _) => Vec::new(),
        }
    }
}

fn prefixed(what: &str, problems: Vec<String>) -> Vec<String> {
    problems.into_iter().map(|problem| format!("{what}: {problem}")).collect()
}

/// What a text in a query may mean: itself, a number, a truth, a list.
fn readings(text: &str, list: bool) -> Vec<Value> {
    let mut readings = vec![Value::from(text)];
    readings.extend(serde_json::from_str::<Value>(text).ok());
    if list {
        readings.push(text.split(',').map(Value::from).collect());
    }
    readings
}
