//! `GET /`: the dashboard, one page with its script and style, all served from the binary.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::{Answer, part};
use crate::error::ApiError;

/// The page runs its own script and style and nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("../../assets/dashboard.html");
const FILES: [(&str, &str, &str); 2] = [
    ("dashboard.js", "text/javascript; charset=utf-8", include_str!("../../assets/dashboard.js")),
    ("dashboard.css", "text/css; charset=utf-8", include_str!("../../assets/dashboard.css")),
];

pub(crate) async fn handle() -> Answer {
    Ok(served("text/html; charset=utf-8", PAGE))
}

/// `GET /assets/{file}`.
pub(crate) async fn asset(request: HttpRequest) -> Answer {
    let name = part(&request, "file");
    let file = FILES.iter().find(|(known, _, _)| *known == name);
    let (_, kind, text) =
        file.ok_or_else(|| ApiError::missing("not_found", "there is nothing at this path"))?;
    Ok(served(kind, text))
}

fn served(kind: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(text)
}
