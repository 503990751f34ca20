//! `GET /`: until there is a dashboard, the documentation.

use actix_web::HttpResponse;
use actix_web::http::header;

use super::Answer;

pub(crate) async fn handle() -> Answer {
    Ok(HttpResponse::SeeOther().insert_header((header::LOCATION, "/docs/")).finish())
}
