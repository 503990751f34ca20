//! Which path takes which method. A path that takes others answers 405 with `Allow`.

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, Route};

use crate::endpoints::*;
use crate::error::ApiError;

/// All routes.
pub(crate) fn configure(config: &mut ServiceConfig) {
    jobs(config);
    let mut at = |path: &str, routes| {
        config.service(resource(path, routes));
    };
    at("/api/training/estimates", vec![post(web::to(estimates::handle))]);
    at(
        "/api/training/inputs/{sha256}",
        vec![put(web::to(put_input::handle)), head(web::to(head_input::handle))],
    );
    at("/api/training/secrets", vec![get(web::to(list_secrets::handle))]);
    at(
        "/api/training/secrets/{name}",
        vec![put(web::to(put_secret::handle)), delete(web::to(delete_secret::handle))],
    );
    at("/api/training/providers", vec![get(web::to(providers::handle))]);
    at("/api/training/offers", vec![get(web::to(offers::handle))]);
    at("/api/training/resources", vec![get(web::to(resources::handle))]);
    at("/api/training/resources/{machine}/release", vec![post(web::to(release_machine::handle))]);
    at("/ws/training/jobs/{job_id}", vec![get(web::to(websocket::handle))]);
    at("/healthz", vec![get(web::to(healthz::handle)), head(web::to(healthz::handle))]);
    at("/readyz", vec![get(web::to(readyz::handle)), head(web::to(readyz::handle))]);
    at("/metrics", vec![get(web::to(prometheus::handle))]);
    at("/openapi.json", vec![get(web::to(openapi_json::handle))]);
    at("/docs", vec![get(web::to(docs::handle))]);
    at("/docs/{file:.*}", vec![get(web::to(docs::handle))]);
    at("/agent/{sha256}", vec![get(web::to(agent::handle)), head(web::to(agent::handle))]);
    at("/", vec![get(web::to(root::handle))]);
    at("/assets/{file}", vec![get(web::to(root::asset))]);
}

fn jobs(config: &mut ServiceConfig) {
    let mut at = |path: &str, routes| {
        config.service(resource(&format!("/api/training/jobs{path}"), routes));
    };
    at("", vec![post(web::to(create_job::handle)), get(web::to(list_jobs::handle))]);
    at(
        "/{job_id}",
        vec![
            get(web::to(get_job::handle)),
            patch(web::to(patch_job::handle)),
            delete(web::to(delete_job::handle)),
        ],
    );
    at("/{job_id}/status", vec![get(web::to(status::handle))]);
    at("/{job_id}/submit", vec![post(web::to(submit::handle))]);
    at("/{job_id}/cancel", vec![post(web::to(cancel::handle))]);
    at("/{job_id}/pause", vec![post(web::to(pause::handle))]);
    at("/{job_id}/resume", vec![post(web::to(resume::handle))]);
    at("/{job_id}/clone", vec![post(web::to(clone_job::handle))]);
    at("/{job_id}/exec", vec![post(web::to(exec::handle))]);
    at("/{job_id}/ssh", vec![get(web::to(ssh::handle))]);
    at("/{job_id}/validate", vec![post(web::to(validate::handle))]);
    at("/{job_id}/download-artifact", vec![post(web::to(download_artifact::handle))]);
    at("/{job_id}/verify-artifact", vec![post(web::to(verify_artifact::handle))]);
    at(
        "/{job_id}/artifact/{file:.*}",
        vec![get(web::to(artifact_file::handle)), head(web::to(artifact_file::handle))],
    );
    at("/{job_id}/metrics", vec![get(web::to(metrics::handle))]);
    at("/{job_id}/logs", vec![get(web::to(logs::handle))]);
    at("/{job_id}/events", vec![get(web::to(events::handle))]);
    at("/{job_id}/notifications", vec![get(web::to(notifications::handle))]);
}

type Entry = (Method, Route);

fn get(route: Route) -> Entry {
    (Method::GET, route)
}

fn head(route: Route) -> Entry {
    (Method::HEAD, route)
}

fn post(route: Route) -> Entry {
    (Method::POST, route)
}

fn put(route: Route) -> Entry {
    (Method::PUT, route)
}

fn patch(route: Route) -> Entry {
    (Method::PATCH, route)
}

fn delete(route: Route) -> Entry {
    (Method::DELETE, route)
}

fn resource(path: &str, routes: Vec<Entry>) -> Resource {
    let allow = routes.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
    let mut resource = web::resource(path);
    for (method, route) in routes {
        resource = resource.route(route.method(method));
    }
    resource.default_service(web::to(move || wrong_method(allow.clone())))
}

async fn wrong_method(allow: String) -> Result<HttpResponse, ApiError> {
    let error = ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("this path takes {allow}"),
    );
    Err(error.header(header::ALLOW, allow))
}

/// Every path that is not ours.
pub(crate) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::of_status(StatusCode::NOT_FOUND))
}
