use openclaw_platform::os;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::{super::*, *};

const KEY: &str = "sk-very-secret";

fn client() -> HttpClient {
    let dir = tempfile::tempdir().unwrap();
    HttpClient::new(&os::platform(dir.path()).unwrap())
}

fn endpoint(base: &str) -> Endpoint {
    Endpoint::new(client(), base, Some(Secret::new(KEY)), &BTreeMap::new()).unwrap()
}

/// The first event of a request to a server that answers with `template`.
async fn answer(template: ResponseTemplate) -> Result<ModelEvent, ModelError> {
    let server = MockServer::start().await;
    Mock::given(matchers::any()).respond_with(template).mount(&server).await;
    let provider = OpenAi::new("p", endpoint(&server.uri()));
    provider.stream(ModelRequest::default()).next().await.unwrap()
}

fn status(status: u16, message: &str, retry_after: Option<u64>) -> Result<ModelEvent, ModelError> {
    let retry_after = retry_after.map(Duration::from_secs);
    Err(ModelError::Status { status, message: message.into(), retry_after })
}

#[tokio::test]
async fn only_the_message_of_an_error_is_taken() {
    for body in [
        r#"{"error":{"message":"no credit","type":"x","param":null}}"#,
        r#"{"type":"error","error":{"type":"x","message":"no credit"}}"#,
        r#"{"message":"no credit"}"#,
        r#"{"error":"no credit"}"#,
        r#"{"detail":"no credit"}"#,
    ] {
        let got = answer(ResponseTemplate::new(402).set_body_string(body)).await;
        assert_eq!(got, status(402, "no credit", None), "{body}");
    }
    for body in ["<html>proxy</html>", "", "[1]", r#"{"error":{"message":7}}"#] {
        let got = answer(ResponseTemplate::new(502).set_body_string(body)).await;
        assert_eq!(got, status(502, "Bad Gateway", None), "{body}");
    }
    let endless = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(1 << 20));
    assert_eq!(answer(ResponseTemplate::new(400).set_body_string(endless)).await, status(400, "Bad Request", None));
}

#[tokio::test]
async fn retry_after_is_read_in_seconds_only() {
    for (header, expected) in [("7", Some(7)), (" 0 ", Some(0)), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)]
    {
        let got = answer(ResponseTemplate::new(429).insert_header("retry-after", header)).await;
        assert_eq!(got, status(429, "Too Many Requests", expected), "{header}");
    }
}

#[tokio::test]
async fn s17_the_key_is_in_no_error_and_no_debug_output() {
    let body = format!(r#"{{"error":{{"message":"Incorrect API key: {KEY}\u001b[31m."}}}}"#);
    let got = answer(ResponseTemplate::new(401).set_body_string(body)).await;
    // S18: no control characters either.
    assert_eq!(got, status(401, "Incorrect API key: *** [31m.", None));
    let headers = BTreeMap::from([("x-extra".to_owned(), Secret::new("hidden-value"))]);
    let endpoint = Endpoint::new(client(), "http://h", Some(Secret::new(KEY)), &headers).unwrap();
    let shown = format!("{endpoint:?}");
    assert!(!shown.contains(KEY) && !shown.contains("hidden-value"), "{shown}");
}

#[tokio::test]
async fn an_unreachable_server_is_a_network_error_without_the_url() {
    let provider = OpenAi::new("p", endpoint("http://127.0.0.1:1/secret-path"));
    let got = provider.stream(ModelRequest::default()).next().await.unwrap();
    let Err(error @ ModelError::Network(_)) = got else { panic!("{got:?}") };
    assert!(error.is_passing() && !error.to_string().contains("secret-path"), "{error}");
}

#[test]
fn unusable_configuration_is_told_without_its_values() {
    let make = |base: &str, key: &str, header: (&str, &str)| {
        let headers = BTreeMap::from([(header.0.to_owned(), Secret::new(header.1))]);
        Endpoint::new(client(), base, Some(Secret::new(key)), &headers).map(|_| ())
    };
    assert_eq!(make("https://host/v1/", "k", ("x-a", "b")), Ok(()));
    for (base, key, header) in [
        ("ftp://secret", "k", ("x-a", "b")),
        ("secret", "k", ("x-a", "b")),
        ("", "k", ("x-a", "b")),
        ("http://h/?key=secret", "k", ("x-a", "b")),
        ("http://h", "secret\n", ("x-a", "b")),
        ("http://h", "k", ("x a", "secret")),
        ("http://h", "k", ("x-a", "secret\n")),
    ] {
        let Err(error @ ModelError::Config(_)) = make(base, key, header) else { panic!("{base} {header:?}") };
        assert!(!error.is_passing() && !error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn configured_headers_win_over_the_providers_own() {
    let server = MockServer::start().await;
    let matching = Mock::given(matchers::header("authorization", "Custom 1")).and(matchers::header("x-a", "b"));
    matching.respond_with(ResponseTemplate::new(418)).expect(1).mount(&server).await;
    let headers = [("authorization", "Custom 1"), ("x-a", "b")];
    let headers = headers.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
    let endpoint = Endpoint::new(client(), &server.uri(), Some(Secret::new(KEY)), &headers).unwrap();
    let got = OpenAi::new("p", endpoint).stream(ModelRequest::default()).next().await.unwrap();
    assert!(matches!(got, Err(ModelError::Status { status: 418, .. })), "{got:?}");
}
