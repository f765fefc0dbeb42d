use rcgen::{CertificateParams, KeyPair};
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::tls::{Mismatch, Tls, is_untrusted};

/// Certificate and key in PEM.
fn made(name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn identity((certificate, key): &(String, String)) -> Identity {
    Identity::from_pem(certificate.as_bytes(), key.as_bytes(), None).unwrap()
}

/// What a client of `tls` gets back of what it says, and what the server thinks.
async fn talk(server: &TlsServer, tls: Tls) -> (io::Result<String>, bool) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let serve = async {
        let Ok(mut io) = server.accept(Box::new(far)).await else { return false };
        let mut said = [0; 4];
        let is_read = io.read_exact(&mut said).await.is_ok();
        is_read && io.write_all(&said).await.is_ok() && io.shutdown().await.is_ok()
    };
    let ask = async {
        let mut io = tls.connect("gateway.example", Box::new(near)).await?;
        io.write_all(b"ping").await?;
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.map(|_| answer)
    };
    let (answer, served) = tokio::join!(ask, serve);
    (answer, served)
}

#[tokio::test]
async fn a_pinned_certificate_is_taken_and_no_other() {
    let (own, other) = (made("gateway.example"), made("gateway.example"));
    let server = TlsServer::new(identity(&own));
    let pin = server.fingerprint();
    assert_eq!(fingerprint_of(own.0.as_bytes()), Ok(pin));
    let (answer, served) = talk(&server, Tls::pinned(pin)).await;
    assert_eq!((answer.unwrap().as_str(), served), ("ping", true));
    let wrong = identity(&other).fingerprint();
    let (answer, served) = talk(&server, Tls::pinned(wrong)).await;
    let error = answer.unwrap_err();
    assert_eq!(Mismatch::of(&error), Some(Mismatch { expected: wrong, found: pin }), "{error}");
    assert!(is_untrusted(&error) && !served, "nothing was said to it");
    let (answer, _) = talk(&server, Tls::new()).await;
    let error = answer.unwrap_err();
    assert!(is_untrusted(&error) && Mismatch::of(&error).is_none(), "nobody has signed it: {error}");
}

/// Somebody who has only the certificate, which everybody may see, cannot use it.
#[tokio::test]
async fn a_pinned_certificate_without_its_key_is_worth_nothing() {
    let (own, other) = (made("gateway.example"), made("gateway.example"));
    // rustls refuses to serve the two together, so the signature is made with the other key behind its back.
    let chain = certificates(own.0.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(other.1.as_bytes()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let resolver = rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, key));
    let config = versions(rustls::ServerConfig::builder_with_details(provider(), Arc::new(Today)));
    let config = config.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    let fingerprint = identity(&own).fingerprint();
    let server = TlsServer::new(Identity { config: Arc::new(config), fingerprint });
    let (answer, served) = talk(&server, Tls::pinned(fingerprint)).await;
    assert!(answer.is_err() && !served, "{answer:?}");
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections() {
    let (old, new) = (identity(&made("gateway.example")), identity(&made("gateway.example")));
    let (before, after) = (old.fingerprint(), new.fingerprint());
    let server = TlsServer::new(old);
    // Its session tickets are of the certificate before.
    let client = Tls::pinned(before);
    talk(&server, client.clone()).await.0.unwrap();
    server.replace(new);
    assert!(talk(&server, client).await.0.is_err());
    talk(&server, Tls::pinned(after)).await.0.unwrap();
}

#[tokio::test]
async fn who_speaks_no_tls_is_given_back_with_all_that_it_said() {
    let server = TlsServer::new(identity(&made("gateway.example")));
    let (mut near, far) = tokio::io::duplex(1 << 16);
    near.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    near.shutdown().await.unwrap();
    let Err(AcceptError::NotTls(mut io)) = server.accept(Box::new(far)).await else { panic!("taken for TLS") };
    let mut said = String::new();
    io.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "GET / HTTP/1.1\r\n");
}

#[test]
fn d36_what_cannot_be_served_says_which_file_and_shows_no_key() {
    let (own, other) = (made("a.example"), made("b.example"));
    let from = |certificate: &str, key: &str, authority: Option<&str>| {
        Identity::from_pem(certificate.as_bytes(), key.as_bytes(), authority.map(str::as_bytes)).unwrap_err()
    };
    assert_eq!(from(&own.0, &other.1, None), IdentityError::Mismatch);
    assert!(matches!(from("", &own.1, None), IdentityError::Certificate(_)));
    assert!(matches!(from(&own.1, &own.1, None), IdentityError::Certificate(_)), "a key in the certificate's place");
    assert!(matches!(from(&own.0, "", None), IdentityError::Key(_)));
    assert!(matches!(from(&own.0, &own.0, None), IdentityError::Key(_)), "a certificate in the key's place");
    assert!(matches!(from(&own.0, &own.1, Some("nothing")), IdentityError::Authority(_)));
    let broken = own.1.replace("-----END", "-----EN");
    let text = from(&own.0, &broken, None).to_string();
    let middle = own.1.lines().nth(1).unwrap();
    assert!(!text.contains(middle) && text.contains("private key in PEM"), "{text}");
    let many = own.0.repeat(MAX_CHAIN + 1);
    assert!(from(&many, &own.1, None).to_string().contains("at most 16"));
    assert!(Identity::from_pem(own.0.as_bytes(), own.1.as_bytes(), Some(other.0.as_bytes())).is_ok());
}
