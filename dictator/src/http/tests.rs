//! The face without sockets, before an owner that answers as a test tells it to.

use axum::body::Body as RequestBody;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use service::http::{HttpLimits, chassis};
use topology::NodeName;
use topology::plan::{Step, Would};
use topology::receipt::{ReceiptName, ReceiptNode};
use topology::refusal::{Refusal, Slug};
use tower::ServiceExt;

use super::problems::status_and_title;
use super::*;
use crate::apply::{Enforcement, Entry, Rejection, Status};

const DOCUMENT: &str = r#"{"master":{"address":"10.0.0.1"},"slaves":[{"address":"10.0.0.2","port":7000}]}"#;

type Answer = Box<dyn FnMut(&ApplyRequest) -> Result<Answered, Rejection> + Send>;

/// A face whose owner answers documents with `answer`, and everything else with something plausible.
fn face_with(mut answer: Answer) -> Face {
    let (owner, mut asks) = Handle::new();
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            match ask {
                Ask::Apply(request) => {
                    let answer = answer(&request);
                    let _ = request.reply.send(answer);
                }
                Ask::Master(reply) => {
                    let document = Document::parse(DOCUMENT.as_bytes(), 8).unwrap().document;
                    let wanted = topology::record::Wanted { document, revision: Some(41) };
                    let _ = reply.send(Some(InForce { wanted, sequence: 7 }));
                }
                Ask::Status(reply) => {
                    let _ = reply.send(status());
                }
                Ask::History(reply) => {
                    let _ = reply.send(vec![entry()]);
                }
                Ask::Enforcement(reply) => {
                    let _ = reply.send(enforcement());
                }
                Ask::Pause(request) => {
                    let _ = request.reply.send(enforcement());
                }
            }
        }
    });
    face_of(owner)
}

fn face_of(owner: Handle) -> Face {
    Face {
        owner,
        cluster: "redis-1".into(),
        nodes_max: 8,
        targets: Arc::default(),
        reply_deadline: Duration::from_secs(5),
        source: events::Source::new(Events::default(), CancellationToken::new()),
    }
}

fn status() -> Status {
    Status {
        revision: Some(41),
        generation: 2,
        wanted: None,
        acting_master: None,
        nodes: Vec::new(),
        drift: false,
        problem: None,
        groups: Vec::new(),
        change: None,
        enforcement: enforcement(),
    }
}

fn enforcement() -> Enforcement {
    Enforcement { interval_ms: 5000, paused: None }
}

fn entry() -> Entry {
    Entry {
        at_unix_ms: 1,
        cause: "put".to_owned(),
        request_id: "r".to_owned(),
        asked_by: None,
        reason: None,
        outcome: "switched".to_owned(),
        detail: None,
        receipt: None,
    }
}

fn receipt() -> Receipt {
    Receipt {
        outcome: "switched".to_owned(),
        revision: Some(42),
        generation: 3,
        provable: true,
        master: None,
        slaves: vec![ReceiptNode {
            name: ReceiptName { address: "10.0.0.2".parse().unwrap(), port: 7000 },
            ip: "10.0.0.2".parse().unwrap(),
            run_id: topology::observation::RunId("a".to_owned()),
            replid: topology::observation::ReplId("b".to_owned()),
            link: Some("syncing".to_owned()),
        }],
        pending: Vec::new(),
        warnings: Vec::new(),
        frozen_offset: Some(1),
        target_offset: Some(1),
        write_gap_us: Some(2000),
        full_resyncs: None,
        steps: Vec::new(),
        request_id: "somebody else's".to_owned(),
    }
}

fn switched() -> Answer {
    Box::new(|_| Ok(Answered::Receipt(Box::new(receipt()), 8)))
}

fn never() -> Answer {
    Box::new(|request| panic!("must not reach the owner: {request:?}"))
}

struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn ask(face: &Face, method: Method, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Told {
    let router = chassis(routes(face.clone()), &HttpLimits::default());
    let mut request = Request::builder().method(method).uri(target).header("host", "127.0.0.1:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(RequestBody::from(body.to_vec())).unwrap();
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Told {
        status: parts.status.as_u16(),
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

async fn put(face: &Face, target: &str, headers: &[(&str, &str)], body: &str) -> Told {
    ask(face, Method::PUT, target, headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_document_reaches_the_owner_with_its_conditions() {
    let face = face_with(Box::new(|request| {
        assert_eq!((request.revision, request.if_match), (Some(42), Some(7)));
        assert_eq!((request.wait, request.dry_run), (Wait::Links, false));
        assert_eq!(request.request_id, "mine");
        assert_eq!(request.reason.as_deref(), Some("new memory for core-01, größer"));
        assert_eq!(request.parsed.document.slaves.len(), 1);
        Ok(Answered::Receipt(Box::new(receipt()), 8))
    }));
    let headers = [
        ("x-topology-revision", "42"),
        ("if-match", "\"7\""),
        ("x-request-id", "mine"),
        ("x-reason", "new memory for core-01, größer"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    for path in ["/master?wait=links", "/clusters/redis-1/master?wait=links&dry_run=false"] {
        let answer = put(&face, path, &headers, DOCUMENT).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.header("etag"), Some("\"8\""));
        assert_eq!(answer.header("x-topology-revision"), Some("42"));
        assert_eq!(answer.header("x-request-id"), Some("mine"));
        let json = answer.json();
        assert_eq!((&json["outcome"], &json["request_id"]), (&json!("switched"), &json!("mine")));
    }
}

#[tokio::test]
async fn text_is_ok_and_nothing_more() {
    let answer = put(&face_with(switched()), "/master", &[("accept", "text/plain")], DOCUMENT).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "OK\n"));
}

#[tokio::test]
async fn a_dry_run_answers_the_plan() {
    let face = face_with(Box::new(|request| {
        assert!(request.dry_run);
        let node: NodeName = request.parsed.document.master.clone();
        let steps = vec![Step::Park { node, why: "it is not wanted".to_owned() }];
        Ok(Answered::Plan(Box::new(Plan {
            steps,
            again: false,
            acting: None,
            would: Would::Repaired,
            pending: Vec::new(),
            refused: None,
            warnings: vec!["careful".to_owned()],
        })))
    }));
    let json = put(&face, "/master?dry_run=true", &[], DOCUMENT).await.json();
    assert_eq!(json["would"], "repaired");
    assert_eq!(json["warnings"], json!(["careful"]));
    assert_eq!(json["plan"], json!([{"step": "park", "node": "10.0.0.1", "why": "it is not wanted"}]));
    let text = put(&face, "/master?dry_run=true", &[("accept", "text/plain")], DOCUMENT).await.text;
    assert_eq!(text, "would be repaired\npark 10.0.0.1: it is not wanted\n");
    let unchanged = put(&face_with(switched()), "/master?dry_run=true", &[], DOCUMENT).await;
    assert_eq!(unchanged.json()["plan"], json!([]));
    assert_eq!(unchanged.header("etag"), None);
}

#[tokio::test]
async fn reads() {
    let face = face_with(never());
    for path in ["/master", "/clusters/redis-1/master"] {
        let answer = ask(&face, Method::GET, path, &[], b"").await;
        assert_eq!((answer.status, answer.header("etag")), (200, Some("\"7\"")));
        assert_eq!(answer.header("x-topology-revision"), Some("41"));
        assert_eq!(answer.json(), serde_json::from_str::<Value>(DOCUMENT).unwrap());
        let head = ask(&face, Method::HEAD, path, &[], b"").await;
        assert_eq!((head.status, head.header("etag"), head.text.as_str()), (200, Some("\"7\""), ""));
    }
    assert_eq!(ask(&face, Method::GET, "/status", &[], b"").await.json()["generation"], 2);
    assert_eq!(ask(&face, Method::GET, "/history", &[], b"").await.json()[0]["outcome"], "switched");
}

/// Target, headers, body; then status and slug.
type BadRequest<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn what_is_wrong_with_a_request_never_reaches_the_owner() {
    let face = face_with(never());
    let nine = format!(
        r#"{{"master":{{"address":"10.0.0.1"}},"slaves":[{}]}}"#,
        (2..11).map(|last| format!(r#"{{"address":"10.0.0.{last}"}}"#)).collect::<Vec<_>>().join(",")
    );
    let invalid = r#"{"master":{"address":"a b"},"slaves":[]}"#;
    let duplicate = r#"{"master":{"address":"a"},"slaves":[{"address":"a"}]}"#;
    let long = "x".repeat(201);
    let cases: [BadRequest<'_>; 22] = [
        ("/master", &[], "", 400, "malformed-json"),
        ("/master", &[], "{", 400, "malformed-json"),
        ("/master", &[], "[]", 400, "malformed-topology"),
        ("/master", &[], "{}", 400, "malformed-topology"),
        ("/master", &[], r#"{"master":{"address":"a"},"slavs":[]}"#, 400, "malformed-topology"),
        ("/master", &[], invalid, 400, "invalid-address"),
        ("/master", &[], duplicate, 422, "duplicate-node"),
        ("/master", &[], &nine, 422, "too-many-nodes"),
        ("/master?wait=ever", &[], DOCUMENT, 400, "unknown-parameter"),
        ("/master?dry_run=1", &[], DOCUMENT, 400, "unknown-parameter"),
        ("/master?force=true", &[], DOCUMENT, 400, "unknown-parameter"),
        ("/master?wait=links&wait=links", &[], DOCUMENT, 400, "unknown-parameter"),
        ("/master", &[("x-topology-revision", "new")], DOCUMENT, 400, "malformed-header"),
        ("/master", &[("x-topology-revision", "+1")], DOCUMENT, 400, "malformed-header"),
        ("/master", &[("x-topology-revision", "")], DOCUMENT, 400, "malformed-header"),
        (
            "/master",
            &[("x-topology-revision", "1"), ("x-topology-revision", "2")],
            DOCUMENT,
            400,
            "malformed-header",
        ),
        ("/master", &[("x-reason", &long)], DOCUMENT, 400, "malformed-header"),
        ("/master", &[("if-match", "42")], DOCUMENT, 400, "malformed-header"),
        ("/master", &[("if-match", "*")], DOCUMENT, 400, "malformed-header"),
        ("/master", &[("if-match", "W/\"42\"")], DOCUMENT, 400, "malformed-header"),
        ("/clusters/redis-2/master", &[], DOCUMENT, 404, "not-found"),
        ("/Master", &[], DOCUMENT, 404, "not-found"),
    ];
    for (target, headers, body, status, slug) in cases {
        let answer = put(&face, target, headers, body).await;
        let json = answer.json();
        assert_eq!(answer.status, status, "{target} {headers:?} {body}: {json}");
        assert_eq!(json["type"], format!("urn:redis-dictator:{slug}"), "{target} {headers:?} {body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(json["request_id"].is_string());
        let text = put(&face, target, &[headers, &[("accept", "text/plain")]].concat(), body).await.text;
        assert_eq!(text.trim_end_matches('\n').lines().count(), 1, "{text:?}");
    }
    let places = put(&face, "/master", &[], invalid).await.json()["errors"][0]["pointer"].clone();
    assert_eq!(places, "/master/address");
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let face = face_with(never());
    for (method, path, allow) in [
        (Method::POST, "/master", "GET, HEAD, PUT, OPTIONS"),
        (Method::DELETE, "/clusters/redis-1/master", "GET, HEAD, PUT, OPTIONS"),
        (Method::PUT, "/status", "GET, HEAD, OPTIONS"),
        (Method::PUT, "/history", "GET, HEAD, OPTIONS"),
    ] {
        let answer = ask(&face, method, path, &[], b"").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
        assert_eq!(answer.json()["type"], "urn:redis-dictator:method-not-allowed");
    }
}

#[tokio::test]
async fn every_refusal_keeps_its_evidence() {
    let node = NodeName { address: "10.0.0.2".parse().unwrap(), port: None };
    let face = face_with(Box::new(move |_| {
        let refusal = Refusal::new(Slug::WouldLoseData, "it holds 5 keys of its own", "discard them")
            .about(&node)
            .during("attach")
            .with("keys", 5);
        Err(Rejection::Refused(Box::new(refusal)))
    }));
    let json = put(&face, "/master", &[], DOCUMENT).await.json();
    assert_eq!(json["type"], "urn:redis-dictator:would-lose-data");
    assert_eq!((&json["status"], &json["node"]), (&json!(409), &json!("10.0.0.2")));
    assert_eq!((&json["step"], &json["evidence"]), (&json!("attach"), &json!({"keys": 5})));
    assert_eq!(
        (&json["do"], &json["detail"]),
        (&json!("discard them"), &json!("it holds 5 keys of its own"))
    );
}

#[tokio::test]
async fn every_rejection_has_its_status() {
    let cases: [(Rejection, u16, &str); 9] = [
        (Rejection::StaleRevision { given: 1, in_force: 2 }, 409, "stale-revision"),
        (Rejection::RevisionConflict { revision: 2 }, 409, "revision-conflict"),
        (Rejection::PreconditionFailed { current: Some(9) }, 412, "precondition-failed"),
        (Rejection::PreconditionFailed { current: None }, 412, "precondition-failed"),
        (Rejection::Superseded { by: "r2".to_owned() }, 409, "superseded"),
        (Rejection::LinksLate(Box::new(receipt())), 504, "links-late"),
        (Rejection::Busy, 503, "busy"),
        (Rejection::ReignEnded, 503, "not-leader"),
        (
            Rejection::Refused(Box::new(Refusal::new(Slug::RecordNotWritable, "disk full", "make room"))),
            503,
            "record-not-writable",
        ),
    ];
    for (rejection, status, slug) in cases {
        let clone = rejection.clone();
        let face = face_with(Box::new(move |_| Err(clone.clone())));
        let answer = put(&face, "/master", &[], DOCUMENT).await;
        let json = answer.json();
        assert_eq!(answer.status, status, "{json}");
        assert_eq!(json["type"], format!("urn:redis-dictator:{slug}"));
        assert!(json["do"].is_string(), "{json}");
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        if let Rejection::PreconditionFailed { current: Some(current) } = rejection {
            assert_eq!(answer.header("etag"), Some(format!("\"{current}\"").as_str()));
        }
        if let Rejection::LinksLate(_) = rejection {
            assert_eq!(json["evidence"]["late"][0]["port"], 7000);
            assert_eq!(json["evidence"]["receipt"]["outcome"], "switched");
        }
    }
}

#[test]
fn statuses_are_those_of_the_contract() {
    let table: [(u16, &[Slug]); 6] = [
        (
            409,
            &[
                Slug::WouldLoseData,
                Slug::SplitBrain,
                Slug::ActingMasterUnreachable,
                Slug::TargetBehind,
                Slug::TargetLoading,
                Slug::TargetUnfit,
                Slug::MasterLostData,
                Slug::SameInstance,
                Slug::AmbiguousName,
                Slug::ManagedBySentinel,
                Slug::UnresolvedHandover,
            ],
        ),
        (422, &[Slug::Unresolvable, Slug::UnsupportedNode]),
        (502, &[Slug::NodeUnreachable, Slug::NodeRefused, Slug::NotRedis]),
        (503, &[Slug::NotLeader, Slug::RecordNotWritable]),
        (504, &[Slug::DrainTimeout, Slug::SyncTimeout, Slug::OutcomeUnknown]),
        (500, &[Slug::Internal]),
    ];
    for (status, slugs) in table {
        for slug in slugs {
            assert_eq!(status_and_title(*slug).0, status, "{}", slug.as_str());
        }
    }
}

#[tokio::test]
async fn without_an_owner_or_a_document_it_says_so() {
    let (owner, asks) = Handle::new();
    drop(asks);
    for answer in [
        put(&face_of(owner.clone()), "/master", &[], DOCUMENT).await,
        ask(&face_of(owner), Method::GET, "/status", &[], b"").await,
    ] {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
        assert_eq!(answer.json()["type"], "urn:redis-dictator:busy");
    }
    let (owner, mut asks) = Handle::new();
    tokio::spawn(async move {
        while let Some(ask) = asks.recv().await {
            if let Ask::Master(reply) = ask {
                let _ = reply.send(None);
            }
        }
    });
    let face = face_of(owner);
    assert_eq!(ask(&face, Method::GET, "/master", &[], b"").await.status, 404);
    // Dropping an ask unanswered is what a stopping owner does.
    assert_eq!(put(&face, "/master", &[], DOCUMENT).await.status, 503);
}

#[tokio::test]
async fn who_has_not_the_say_names_who_has() {
    let (owner, standing) = Handle::elected();
    let face = face_of(owner);
    let contending = put(&face, "/master", &[], DOCUMENT).await;
    assert_eq!((contending.status, contending.header("retry-after")), (503, Some("5")));
    assert_eq!(contending.json()["type"], "urn:redis-dictator:not-leader");
    standing.send_replace(Standing::Following("http://10.0.0.9:8080".to_owned()));
    let following = put(&face, "/master", &[], DOCUMENT).await.json();
    assert_eq!(following["evidence"]["leader"], "http://10.0.0.9:8080");
    assert_eq!(following["do"], "ask http://10.0.0.9:8080");
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    let (owner, mut asks) = Handle::new();
    let face = face_of(owner);
    let waiting = tokio::spawn(async move { put(&face, "/master", &[], DOCUMENT).await.status });
    let Some(Ask::Apply(request)) = asks.recv().await else { panic!("no document came") };
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    // The owner has the whole request and can go on; only its answer goes nowhere.
    assert_eq!(request.parsed.document.nodes().count(), 2);
    assert!(request.reply.send(Err(Rejection::Busy)).is_err());
}

#[tokio::test]
async fn a_pause_is_asked_for_strictly() {
    let face = face_with(never());
    for body in [
        "",
        "{",
        "[600, \"a\"]",
        "{}",
        "{\"pause_s\": -1}",
        "{\"pause_s\": 1.5}",
        "{\"pause_s\": 1, \"pause_s\": 2}",
        "{\"pause_s\": 1, \"raeson\": \"a\"}",
        "{\"pause_s\": 86401}",
        "{\"pause_s\": 1, \"reason\": \"two\\nlines\"}",
    ] {
        let answer = put(&face, "/enforcement", &[], body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        assert_eq!(answer.json()["type"], "urn:redis-dictator:malformed-enforcement");
    }
    for body in ["{\"pause_s\": 0}", " {\"pause_s\": 86400, \"reason\": \"new memory\"}"] {
        let answer = put(&face, "/enforcement", &[], body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
        assert_eq!(answer.json()["interval_ms"], 5000);
    }
    assert_eq!(ask(&face, Method::GET, "/enforcement", &[], b"").await.status, 200);
    assert_eq!(put(&face, "/enforcement?now=1", &[], "{\"pause_s\": 0}").await.status, 400);
}
