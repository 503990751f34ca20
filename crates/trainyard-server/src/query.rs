//! Query parameters: every unknown, repeated or malformed one is a 400 that names it.

use std::str::FromStr;

use actix_web::{HttpRequest, web};

use crate::error::ApiError;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

/// Most parameters of one request.
const PARAMETERS_MAX: usize = 64;

impl Query {
    /// Reads the parameters of a request; only `known` ones are good.
    pub(crate) fn of(request: &HttpRequest, known: &[&str]) -> Result<Query, ApiError> {
        Query::parse(request.query_string(), known, &[])
    }

    /// The same; those of `many` may stand more than once.
    pub(crate) fn of_many(request: &HttpRequest, known: &[&str], many: &[&str]) -> Result<Query, ApiError> {
        Query::parse(request.query_string(), known, many)
    }

    fn parse(text: &str, known: &[&str], many: &[&str]) -> Result<Query, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
            .map_err(|_| ApiError::bad("invalid_query", "the query cannot be read"))?
            .into_inner();
        if pairs.len() > PARAMETERS_MAX {
            return Err(ApiError::bad("invalid_query", "the query has too many parameters"));
        }
        for (i, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) && !many.contains(&name.as_str()) {
                let all: Vec<&str> = known.iter().chain(many).copied().collect();
                let detail = match all.is_empty() {
                    true => "this call takes none".to_owned(),
                    false => format!("this call takes {}", all.join(", ")),
                };
                let error = format!("unknown query parameter `{}`", shown(name));
                return Err(ApiError::bad("unknown_parameter", error).detail(detail));
            }
            let again = pairs[..i].iter().any(|(earlier, _)| earlier == name);
            if again && !many.contains(&name.as_str()) {
                let error = format!("query parameter `{}` stands more than once", shown(name));
                return Err(ApiError::bad("invalid_parameter", error));
            }
        }
        Ok(Query(pairs))
    }

    /// The text of a parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may stand more than once.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as what its text means; the type's own error says what is wrong.
    pub(crate) fn get<T>(&self, name: &str) -> Result<Option<T>, ApiError>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.text(name).map(|text| text.parse().map_err(|error| wrong(name, &error))).transpose()
    }

    /// A whole number within bounds.
    pub(crate) fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && (min..=max).contains(&number) => Ok(Some(number)),
            _ if max == u64::MAX => Err(wrong(name, &format!("`{}` is not a whole number", shown(text)))),
            _ => Err(wrong(name, &format!("`{}` is not a whole number from {min} to {max}", shown(text)))),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(wrong(name, &format!("`{}` is neither true nor false", shown(text)))),
        }
    }
}

/// The 400 of a parameter whose value is not right.
pub(crate) fn wrong(name: &str, why: &dyn std::fmt::Display) -> ApiError {
    ApiError::bad("invalid_parameter", format!("query parameter `{name}` is not right"))
        .detail(why.to_string())
}

fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use trainyard_domain::StateName;

    use super::*;

    fn told<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        match result {
            Ok(value) => format!("ok {value:?}"),
            Err(error) => {
                let wire = error.to_wire();
                format!("{} {}: {} ({})", error.status().as_u16(), wire.code, wire.error, wire.detail)
            }
        }
    }

    #[test]
    fn parameters_are_read_or_named() {
        let number =
            |text: &str| told(Query::parse(text, &["limit"], &[]).and_then(|q| q.number("limit", 1, 1000)));
        let state = |text: &str| {
            told(Query::parse(text, &["state"], &["label"]).and_then(|q| q.get::<StateName>("state")))
        };
        let lines = [
            number(""),
            number("limit=7"),
            number("limit=0"),
            number("limit=+7"),
            number("limit=-1"),
            number("limit=9223372036854775808"),
            number("limit="),
            number("limit=1&limit=2"),
            number("limt=1"),
            state("state=running"),
            state("state=Running"),
            state("label=a%3Ab&label=c:d"),
            told(Query::parse("x=1", &[], &[])),
            told(Query::parse("follow=yes", &["follow"], &[]).and_then(|q| q.flag("follow"))),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }
}
