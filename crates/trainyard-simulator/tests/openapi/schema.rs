//! As much of JSON Schema (2020-12) as the vendors' documents use. Words of it that are not looked at: `format`,
//! `pattern`, `discriminator`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// How deep schemas may refer to each other.
const DEPTH_MAX: usize = 64;

/// The schemas of one document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schemas<'a> {
    doc: &'a Value,
}

impl<'a> Schemas<'a> {
    pub(crate) fn new(doc: &'a Value) -> Schemas<'a> {
        Schemas { doc }
    }

    /// What a reference refers to; anything else is itself.
    pub(crate) fn resolve(&self, value: &'a Value) -> &'a Value {
        let mut value = value;
        for _ in 0..DEPTH_MAX {
            let Some(target) = value.get("$ref").and_then(Value::as_str) else { break };
            let Some(found) = target.strip_prefix('#').and_then(|pointer| self.doc.pointer(pointer)) else {
                break;
            };
            value = found;
        }
        value
    }

    /// What in a value the schema does not allow; `at` is where the value lies.
    pub(crate) fn check(&self, schema: &'a Value, value: &Value, at: &str) -> Vec<String> {
        let mut problems = Vec::new();
        self.walk(schema, value, at, 0, &mut problems);
        problems
    }

    fn is_valid(&self, schema: &'a Value, value: &Value, depth: usize) -> bool {
        let mut problems = Vec::new();
        self.walk(schema, value, "", depth, &mut problems);
        problems.is_empty()
    }

    fn walk(&self, schema: &'a Value, value: &Value, at: &str, depth: usize, problems: &mut Vec<String>) {
        if depth > DEPTH_MAX || schema.is_boolean() {
            if *schema == Value::Bool(false) {
                problems.push(format!("{at}: is not allowed"));
            }
            return;
        }
        if schema.get("$ref").is_some() {
            self.walk(self.resolve(schema), value, at, depth + 1, problems);
        }
        let Some(schema) = schema.as_object() else { return };
        Self::scalar(schema, value, at, problems);
        self.combined(schema, value, at, depth, problems);
        if let Some(object) = value.as_object() {
            self.object(schema, object, at, depth, problems);
        }
        if let (Some(list), Some(items)) = (value.as_array(), schema.get("items")) {
            for (index, item) in list.iter().enumerate() {
                self.walk(items, item, &format!("{at}[{index}]"), depth + 1, problems);
            }
        }
    }

    fn scalar(schema: &Map<String, Value>, value: &Value, at: &str, problems: &mut Vec<String>) {
        let mut wrong = |what: String| problems.push(format!("{at}: {what}"));
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|name| is_type(name, value)) {
            wrong(format!("{value} is not of type {}", types.join(" or ")));
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            wrong(format!("{value} is none of the words of the document"));
        }
        if let Some(only) = schema.get("const").filter(|only| *only != value) {
            wrong(format!("{value} is not {only}"));
        }
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let size = match value {
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                if bound("minimum").is_some_and(|least| number < least)
                    || bound("maximum").is_some_and(|most| number > most)
                {
                    wrong(format!("{number} is out of bounds"));
                }
                return;
            }
            Value::String(text) => ("minLength", text.chars().count(), "maxLength"),
            Value::Array(list) => ("minItems", list.len(), "maxItems"),
            Value::Object(object) => ("minProperties", object.len(), "maxProperties"),
            Value::Null | Value::Bool(_) => return,
        };
        if bound(size.0).is_some_and(|least| (size.1 as f64) < least)
            || bound(size.2).is_some_and(|most| size.1 as f64 > most)
        {
            wrong(format!("a size of {} is out of bounds", size.1));
        }
    }

    fn combined(
        &self,
        schema: &'a Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
        problems: &mut Vec<String>,
    ) {
        for part in list(schema, "allOf") {
            self.walk(part, value, at, depth + 1, problems);
        }
        for name in ["anyOf", "oneOf"] {
            let parts = list(schema, name);
            let tries = parts.iter().map(|part| {
                let mut own = Vec::new();
                self.walk(part, value, at, depth + 1, &mut own);
                own
            });
            if let Some(best) = tries.min_by_key(Vec::len) {
                problems.extend(best);
            }
        }
        if schema.get("not").is_some_and(|not| self.is_valid(not, value, depth + 1)) {
            problems.push(format!("{at}: is what it must not be"));
        }
        if let Some(condition) = schema.get("if") {
            let branch = if self.is_valid(condition, value, depth + 1) { "then" } else { "else" };
            if let Some(branch) = schema.get(branch) {
                self.walk(branch, value, at, depth + 1, problems);
            }
        }
    }

    fn object(
        &self,
        schema: &'a Map<String, Value>,
        object: &Map<String, Value>,
        at: &str,
        depth: usize,
        problems: &mut Vec<String>,
    ) {
        let required = list(schema, "required").iter().filter_map(Value::as_str);
        problems.extend(
            required
                .filter(|name| !object.contains_key(*name))
                .map(|name| format!("{at}.{name}: is missing")),
        );
        let own = schema.get("properties").and_then(Value::as_object);
        for (name, value) in object {
            let below = format!("{at}.{name}");
            match (own.and_then(|own| own.get(name)), schema.get("additionalProperties")) {
                (Some(of_field), _) => self.walk(of_field, value, &below, depth + 1, problems),
                (None, Some(Value::Bool(false))) => problems.push(format!("{below}: is not in the document")),
                (None, Some(others)) => self.walk(others, value, &below, depth + 1, problems),
                (None, None) => {}
            }
        }
        if schema.get("unevaluatedProperties") == Some(&Value::Bool(false)) {
            let mut known = BTreeSet::new();
            self.fields(schema, depth, &mut known);
            let unknown = object.keys().filter(|name| !known.contains(name.as_str()));
            problems.extend(unknown.map(|name| format!("{at}.{name}: is not in the document")));
        }
    }

    /// Every field that a schema and what it is combined of name.
    fn fields(&self, schema: &'a Map<String, Value>, depth: usize, known: &mut BTreeSet<&'a str>) {
        if depth > DEPTH_MAX {
            return;
        }
        let own = schema.get("properties").and_then(Value::as_object);
        known.extend(own.into_iter().flat_map(|own| own.keys().map(String::as_str)));
        let parts = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| list(schema, name));
        let branches = ["then", "else"].into_iter().filter_map(|name| schema.get(name));
        for part in parts.chain(branches) {
            if let Some(part) = part.as_object() {
                self.fields(part, depth + 1, known);
            }
        }
        if let Some(target) =
            schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'))
            && let Some(target) = self.doc.pointer(target).and_then(Value::as_object)
        {
            self.fields(target, depth + 1, known);
        }
    }
}

fn list<'a>(schema: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    schema.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Schemas;

    #[test]
    fn what_a_schema_does_not_allow_is_found() {
        let doc = json!({"components": {"schemas": {
            "Base": {"type": "object", "properties": {"disk": {"type": "integer", "minimum": 1}}},
            "Pod": {"allOf": [{"$ref": "#/components/schemas/Base"},
                {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "minLength": 1},
                    "cloud": {"enum": ["A", "B"]}, "next": {"anyOf": [{"type": "null"}, {"type": "string"}]},
                    "list": {"type": "array", "items": {"type": ["integer", "null"]}}}}],
                "unevaluatedProperties": false},
        }}});
        let schema = json!({"$ref": "#/components/schemas/Pod"});
        let check = |value| Schemas { doc: &doc }.check(&schema, &value, "$").join("; ");
        assert_eq!(check(json!({"name": "x", "disk": 1, "cloud": "A", "next": null, "list": [1, null]})), "");
        assert_eq!(check(json!({"disk": 0})), "$.disk: 0 is out of bounds; $.name: is missing");
        assert_eq!(
            check(json!({"name": "", "bogus": 1})),
            "$.name: a size of 0 is out of bounds; $.bogus: is not in the document"
        );
        assert!(check(json!({"name": "x", "cloud": "C"})).contains("none of the words"));
        assert!(check(json!({"name": "x", "next": 1})).contains("$.next"));
        assert!(check(json!({"name": "x", "list": ["a"]})).contains("$.list[0]"));
    }
}
