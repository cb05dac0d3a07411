//! The chassis without sockets.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::admin::{self, Readiness};
use crate::http::{Document, HttpLimits, RequestId, chassis, json, json_or_ok, query};
use crate::metrics::Metrics;
use crate::problem::Problem;

fn router(readiness: Readiness) -> Router {
    let refusal = || async {
        let problem = Problem::new("would-lose-data", "Would lose data", 409, "b has data\nof its own")
            .with_node("b")
            .with_step("attach")
            .with_evidence("keys", 7)
            .with_do("name it in `discard`")
            .with_error("/slaves/0", "this one")
            .with_retry_after_s(3);
        ([("x-extra", "kept")], problem)
    };
    let master = |headers: HeaderMap,
                  axum::Extension(id): axum::Extension<RequestId>,
                  Document(bytes): Document| async move {
        json_or_ok(
            &headers,
            StatusCode::OK,
            &serde_json::json!({"bytes": bytes.len(), "request_id": id.as_str()}),
        )
    };
    Router::new()
        .route("/master", put(master).get(|| async { json(StatusCode::OK, "now") }))
        .route("/only-put", put(|| async { "put" }))
        .route("/refusal", get(refusal))
        .route("/panic", get(|| async { if true { panic!("on purpose") } else { "no" } }))
        .route("/clusters/{cluster}/master", get(|Path(cluster): Path<String>| async move { cluster }))
        .route("/bare", get(|| async { StatusCode::CONFLICT.into_response() }))
        .route(
            "/query",
            get(|uri: axum::http::Uri| async move {
                query(&uri, &["wait", "dry_run"]).map(|found| format!("{found:?}"))
            }),
        )
        .merge(admin::routes(readiness, std::sync::Arc::new(Metrics::new("test", "0"))))
}

async fn ask(request: axum::http::request::Builder, body: &'static str) -> (Response<()>, String) {
    let request = request.header("host", "localhost").body(Body::from(body)).unwrap();
    let response = chassis(router(Readiness::new()), &HttpLimits::default()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (Response::from_parts(parts, ()), text)
}

async fn problem(request: axum::http::request::Builder) -> (Response<()>, Value) {
    let (response, text) = ask(request, "").await;
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{text}");
    (response, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn a_problem_is_written_whole_with_the_request_id() {
    let (response, body) = problem(Request::get("/refusal").header("x-request-id", "abc-1")).await;
    let expected = serde_json::json!({
        "type": "urn:redis-dictator:would-lose-data", "title": "Would lose data", "status": 409,
        "detail": "b has data\nof its own", "node": "b", "step": "attach", "evidence": {"keys": 7},
        "do": "name it in `discard`", "request_id": "abc-1",
        "errors": [{"pointer": "/slaves/0", "detail": "this one"}],
    });
    assert_eq!(body, expected);
    assert_eq!(response.status(), 409);
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(response.headers()["x-extra"], "kept");
    assert_eq!(response.headers()["x-request-id"], "abc-1");
}

#[tokio::test]
async fn text_is_the_detail_on_one_line_and_ok() {
    let (response, text) = ask(Request::get("/refusal").header("accept", "text/plain"), "").await;
    assert_eq!((response.status(), text.as_str()), (StatusCode::CONFLICT, "b has data of its own\n"));
    let (_, text) = ask(Request::put("/master").header("accept", "text/plain"), "{}").await;
    assert_eq!(text, "OK\n");
    let (_, text) =
        ask(Request::put("/master").header("accept", "application/json, text/plain, */*"), "{}").await;
    assert!(text.starts_with("{\"bytes\":2"), "{text}");
}

#[tokio::test]
async fn paths_that_look_like_a_route_are_not_found() {
    for path in
        ["/Master", "/master/", "//master", "/master%00", "/../master", "/", "/master%2f", "/%6daster/x"]
    {
        let (response, body) = problem(Request::put(path)).await;
        assert_eq!(
            (response.status().as_u16(), &body["title"]),
            (404, &Value::from("Object Not Found")),
            "{path}"
        );
        assert_eq!(body["type"], "urn:redis-dictator:not-found");
    }
}

#[tokio::test]
async fn methods() {
    let (response, body) = problem(Request::delete("/only-put")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["allow"]),
        (405, &"PUT, OPTIONS".parse().unwrap())
    );
    assert_eq!(body["title"], "Method Not Allowed");
    for method in ["GET", "POST", "BREW"] {
        let (response, _) = problem(Request::builder().method(method).uri("/only-put")).await;
        assert_eq!(response.status(), 405, "{method}");
    }
    let (response, text) = ask(Request::options("/master"), "").await;
    assert_eq!((response.status().as_u16(), text.as_str()), (204, ""));
    let allow = response.headers()["allow"].to_str().unwrap();
    for method in ["PUT", "GET", "HEAD", "OPTIONS"] {
        assert!(allow.split(", ").any(|allowed| allowed == method), "{method} in {allow}");
    }
    let (response, text) = ask(Request::head("/master"), "").await;
    assert_eq!((response.status().as_u16(), text.as_str()), (200, ""));
    assert_eq!(problem(Request::options("/nowhere")).await.0.status(), 404);
}

#[tokio::test]
async fn errors_without_form_get_one() {
    let (response, body) = problem(Request::get("/clusters/%ff/master")).await;
    assert_eq!(
        (response.status().as_u16(), &body["type"]),
        (400, &Value::from("urn:redis-dictator:bad-request"))
    );
    let (response, body) = problem(Request::get("/bare")).await;
    assert_eq!((response.status().as_u16(), &body["status"]), (409, &Value::from(409)));
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing_of_it() {
    let (response, body) = problem(Request::get("/panic").header("x-request-id", "p")).await;
    assert_eq!(
        (response.status().as_u16(), &body["type"]),
        (500, &Value::from("urn:redis-dictator:internal"))
    );
    assert_eq!(body["request_id"], "p");
    assert!(!body.to_string().contains("on purpose"));
}

#[tokio::test]
async fn a_request_id_is_echoed_if_sane_and_made_otherwise() {
    let long = "x".repeat(65);
    for bad in ["", "with blank", long.as_str(), "ü"] {
        let request = Request::put("/master").header("x-request-id", bad.as_bytes());
        let (response, text) = ask(request, "{}").await;
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?} → {id}");
        assert!(text.contains(&id), "the handler sees the same id");
    }
    let first = ask(Request::get("/master"), "").await.0.headers()["x-request-id"].clone();
    let second = ask(Request::get("/master"), "").await.0.headers()["x-request-id"].clone();
    assert_ne!(first, second);
}

#[tokio::test]
async fn no_content_type_matters() {
    for content_type in [
        "application/json",
        "application/JSON; charset=utf-8",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "text/plain",
        "text/xml",
        "",
    ] {
        let (response, _) = ask(Request::put("/master").header("content-type", content_type), "{}").await;
        assert_eq!(response.status(), 200, "{content_type}");
    }
    assert_eq!(ask(Request::put("/master"), "{}").await.0.status(), 200);
}

#[tokio::test]
async fn query_parameters_are_known_or_refused() {
    let (_, text) = ask(Request::get("/query?wait=links&dry_run=true"), "").await;
    assert_eq!(text, r#"{"dry_run": "true", "wait": "links"}"#);
    for uri in ["/query?wiat=links", "/query?wait=a&wait=b", "/query?=", "/query?WAIT=a"] {
        let (response, body) = problem(Request::get(uri)).await;
        assert_eq!(
            (response.status().as_u16(), &body["type"]),
            (400, &Value::from("urn:redis-dictator:unknown-parameter")),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn readiness_keeps_its_own_form() {
    let readiness = Readiness::new();
    let latch = readiness.latch("etcd", "not connected");
    let ask = |accept: &'static str| {
        let request = Request::get("/readyz").header("host", "localhost").header(header::ACCEPT, accept);
        chassis(router(readiness.clone()), &HttpLimits::default())
            .oneshot(request.body(Body::empty()).unwrap())
    };
    let response = ask("*/*").await.unwrap();
    assert_eq!(response.status(), 503);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"{\"ready\":false,\"waiting\":{\"etcd\":\"not connected\"}}\n");
    let body = ask("text/plain").await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"etcd: not connected\n");
    latch.release();
    assert_eq!(ask("*/*").await.unwrap().status(), 200);
    for (path, content) in [("/healthz", "ok\n"), ("/metrics", "test_build_info")] {
        let (response, text) = self::ask(Request::get(path), "").await;
        assert!(response.status() == 200 && text.contains(content), "{path}: {text}");
    }
}
