//! HTTPS: the host decides whom to trust.

use super::processes::fetch;
use crate::media::testing::Tls;

#[test]
fn the_hosts_certificates_decide() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("certificate.pem");
    let server = Tls::start("hello", &certificate);
    fetch(&server.url(), &[("SSL_CERT_FILE", certificate.to_str().unwrap())]).unwrap();
    let error = fetch(&server.url(), &[]).unwrap_err();
    assert!(error.contains("that this host does not trust"), "{error}");
}
