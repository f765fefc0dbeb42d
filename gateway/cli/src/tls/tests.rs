use std::fs;

use super::*;
use crate::{session::Session, tests::session};

/// Files of a configuration with this in `gateway.tls`.
fn files(session: &Session, tls: &str) -> Option<TlsFiles> {
    let loaded = openclaw_config::parse(&format!("{{gateway: {{tls: {tls}}}}}"), &|_| None).unwrap();
    TlsFiles::of(&session.paths, &loaded.config)
}

fn refused<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.code(), 78, "{failure}");
    failure.to_string()
}

#[test]
fn a_certificate_is_made_once_private_and_for_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path(), false);
    assert_eq!(files(&session, "{enabled: false, certPath: '/nowhere'}"), None);
    let files = files(&session, "{enabled: true}").unwrap();
    assert_eq!(files.check(), Ok(vec![]));
    assert!(!files.certificate.exists(), "looking changes nothing");
    assert!(files.fingerprint().unwrap_err().contains("makes it when it starts"));
    assert_eq!(files.make("box"), Ok(true));
    let own = session.paths.state_dir.join("gateway/tls");
    assert_eq!(files.certificate, own.join("gateway-cert.pem"));
    for path in [&files.certificate, &files.key] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&own).unwrap().count(), 2, "nothing half written");
    let identity = files.read().unwrap();
    assert_eq!(files.fingerprint(), Ok(identity.fingerprint()));
    let before = fs::read(&files.certificate).unwrap();
    assert_eq!((files.make("other"), files.check()), (Ok(false), Ok(vec![])));
    assert_eq!(fs::read(&files.certificate).unwrap(), before, "never over a file that is there");
}

/// A start that was killed between the two files, and a certificate that somebody removed.
#[test]
fn f18_beside_a_key_the_certificate_is_made_anew_and_the_key_stays() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path(), false);
    let files = files(&session, "{enabled: true}").unwrap();
    files.make("box").unwrap();
    let key = fs::read(&files.key).unwrap();
    fs::remove_file(&files.certificate).unwrap();
    assert_eq!(files.make("box"), Ok(true));
    assert_eq!(fs::read(&files.key).unwrap(), key);
    files.read().unwrap();
    fs::write(&files.key, "no key").unwrap();
    fs::remove_file(&files.certificate).unwrap();
    assert!(refused(files.make("box")).contains("move the key away"));
}

#[test]
fn d36_tls_that_cannot_be_served_is_refused_with_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path(), false);
    let own = files(&session, "{enabled: true}").unwrap();
    own.make("box").unwrap();
    let at = |name: &str| dir.path().join(name);
    let other = |tls: &str| files(&session, tls).unwrap();
    let (cert, key) = (at("c.pem"), at("k.pem"));
    let named = other(&format!("{{enabled: true, autoGenerate: false, certPath: {cert:?}, keyPath: {key:?}}}"));
    let text = refused(named.check());
    assert!(text.contains("c.pem is not there") && text.contains("autoGenerate"), "{text}");
    assert!(!cert.exists() && refused(named.make("box")).contains("c.pem"));
    fs::copy(&own.certificate, &cert).unwrap();
    let text = refused(named.check());
    assert!(text.contains("k.pem is not there") && text.contains("put the key back"), "{text}");
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----\n").unwrap();
    let text = refused(named.check());
    assert!(text.contains("gateway.tls.keyPath") && text.contains("k.pem") && !text.contains("hush"), "{text}");
    let (elsewhere, theirs) = (at("c2.pem"), at("k2.pem"));
    make::make(&elsewhere, &theirs, "box").unwrap();
    fs::copy(&theirs, &key).unwrap();
    let text = refused(named.check());
    assert!(text.contains("is not the key of") && text.contains("k.pem") && text.contains("c.pem"), "{text}");
    fs::copy(&own.key, &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let told = named.check().unwrap();
    assert!(told.len() == 1 && told[0].contains("chmod 600"), "{told:?}");
    let authority = at("ca.pem");
    let with_ca = other(&format!("{{enabled: true, caPath: {authority:?}}}"));
    assert!(refused(with_ca.check()).contains("gateway.tls.caPath"));
    fs::copy(&elsewhere, &authority).unwrap();
    with_ca.check().unwrap();
    let before = own.stamp();
    fs::copy(&elsewhere, &own.certificate).unwrap();
    // File systems count time in steps, and all of this may have been one.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    fs::File::options().append(true).open(&own.certificate).unwrap().set_modified(later).unwrap();
    assert_ne!(own.stamp(), before);
    assert!(refused(own.check()).contains("is not the key of"));
}
