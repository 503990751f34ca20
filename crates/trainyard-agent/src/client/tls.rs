//! The certificate of one machine's agent, where nobody else brings TLS.
//!
//! Key and certificate derive from the installation's key and the order's name: nothing is stored, and a server that
//! was restarted trusts the same machine. The key travels in the order, so it guards the way and not against the
//! host; it opens nothing else.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519, SerialNumber, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use sha2::{Digest, Sha256};
use trainyard_domain::OrderName;

use super::SupplyError;
use super::transport::{CONNECT_WITHIN, IDLE};
use crate::SigningKey;

/// What a PKCS #8 document of an Ed25519 key begins with (RFC 8410); the 32 bytes of the seed follow.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Key and certificate of one machine's agent. The key is not printed.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The self-signed certificate, PEM.
    pub cert_pem: String,
    /// Its private key, PKCS #8 in PEM.
    pub key_pem: String,
    der: CertificateDer<'static>,
}

impl TlsIdentity {
    /// The identity of that order: the same bytes each time.
    ///
    /// # Errors
    /// [`SupplyError::Certificate`] where the cryptography library refuses, which it does for no order known.
    pub fn of(key: &SigningKey, order: &OrderName) -> Result<TlsIdentity, SupplyError> {
        let refused = |error: rcgen::Error| SupplyError::Certificate(error.to_string());
        // Ed25519 signatures are deterministic, and nobody without the key can make this one. No request is ever
        // signed over a text that begins so.
        let secret = key.sign(format!("trainyard tls identity\n{order}").as_bytes());
        let seed: [u8; 32] = Sha256::digest(secret).into();
        let pkcs8 = [&PKCS8_ED25519[..], &seed].concat();
        let pair =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()), &PKCS_ED25519)
                .map_err(refused)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, order.as_str());
        params.serial_number = Some(SerialNumber::from(1));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2120, 1, 1));
        let der = params.self_signed(&pair).map_err(refused)?.der().clone();
        let (cert_pem, key_pem) = (pem("CERTIFICATE", &der), pem("PRIVATE KEY", &pkcs8));
        Ok(TlsIdentity { cert_pem, key_pem, der })
    }

    /// An HTTP client for the machine at that address which trusts this certificate and no other. To a loopback
    /// address it goes past any proxy.
    ///
    /// # Errors
    /// [`SupplyError::Client`] where none can be made.
    pub fn http_client(&self, address: SocketAddr) -> Result<reqwest::Client, SupplyError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let pinned = Pinned { certificate: self.der.clone(), provider: Arc::clone(&provider) };
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| SupplyError::Certificate(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(pinned))
            .with_no_client_auth();
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .connect_timeout(CONNECT_WITHIN)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        let builder = if address.ip().is_loopback() { builder.no_proxy() } else { builder };
        builder.build().map_err(SupplyError::Client)
    }

    /// Key and certificate in one variable of one line, as the bootstrap unfolds it.
    pub(super) fn one_line(&self) -> String {
        format!("{}{}", self.key_pem, self.cert_pem).replace('\n', "_")
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// Exactly one certificate is right, whatever names and dates say.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_same_each_time_and_another_for_another_order() {
        let key = SigningKey::from_seed([5; 32]).unwrap();
        let order =
            |last: char| -> OrderName { format!("ty-tests000-{}{last}", "a".repeat(25)).parse().unwrap() };
        let (one, again) =
            (TlsIdentity::of(&key, &order('a')).unwrap(), TlsIdentity::of(&key, &order('a')).unwrap());
        assert_eq!((&one.cert_pem, &one.key_pem), (&again.cert_pem, &again.key_pem));
        let other = TlsIdentity::of(&key, &order('b')).unwrap();
        assert!(one.cert_pem != other.cert_pem && one.key_pem != other.key_pem);
        assert!(one.one_line().len() < 1024 && !one.one_line().contains('\n'));
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }
}
