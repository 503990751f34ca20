//! Which host key may answer for a machine.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::client::Handler;
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};

use super::SshError;

/// What is known of a machine's host key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostKeyRule {
    /// The key that the machine was given, as `known_hosts` writes it (`ssh-ed25519 AAAA…`); none: it was given none.
    pub given: Option<String>,
    /// Whether any other is refused. Else the first other one is accepted, remembered, and remarked upon, as long as the
    /// given one has not answered: a machine that took it has no other.
    pub strict: bool,
    /// Another one that was accepted for this machine before.
    pub accepted: Option<String>,
}

/// Judges the keys that answer, and remembers.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    rule: HostKeyRule,
    /// The given key has answered: the machine took it, and nothing else is that machine.
    confirmed: bool,
    remarks: Vec<String>,
    refused: Option<String>,
}

impl Trust {
    pub(super) fn new(rule: HostKeyRule) -> Trust {
        let inner = Inner { rule, confirmed: false, remarks: Vec::new(), refused: None };
        Trust { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noticed since the last asking.
    pub(super) fn take_remarks(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().remarks)
    }

    /// The keys that may answer, the given one first.
    pub(super) fn host_keys(&self) -> Vec<String> {
        let rule = &self.inner().rule;
        rule.given.iter().chain(&rule.accepted).cloned().collect()
    }

    /// The other key that was accepted.
    pub(super) fn accepted(&self) -> Option<String> {
        self.inner().rule.accepted.clone()
    }

    /// Another key than the given one that was accepted before, as it was remembered. Where any other is refused, that
    /// holds for it too.
    pub(super) fn recall(&self, accepted: &str) {
        let mut inner = self.inner();
        if !inner.rule.strict && !inner.confirmed {
            inner.rule.accepted.get_or_insert_with(|| accepted.to_owned());
        }
    }

    /// The fingerprint of the key that was refused last, once.
    pub(super) fn take_refused(&self) -> Option<String> {
        self.inner().refused.take()
    }

    fn judge(&self, shown: &PublicKey) -> bool {
        let fingerprint = shown.fingerprint(HashAlg::Sha256).to_string();
        let is = |known: &Option<String>| known.as_deref().is_some_and(|known| same(known, shown));
        let mut inner = self.inner();
        if is(&inner.rule.given) {
            inner.confirmed = true;
            return true;
        }
        if is(&inner.rule.accepted) {
            return true;
        }
        let may = !inner.rule.strict && !inner.confirmed && inner.rule.accepted.is_none();
        let Some(text) = may.then(|| shown.to_openssh().ok()).flatten() else {
            let text = format!("another SSH host key answered ({fingerprint}) and was refused");
            if inner.refused.as_ref() != Some(&fingerprint) && !inner.remarks.contains(&text) {
                inner.remarks.push(text);
            }
            inner.refused = Some(fingerprint);
            return false;
        };
        inner.rule.accepted = Some(text);
        let given = inner.rule.given.is_some();
        inner.remarks.push(match given {
            true => format!(
                "the machine answers with an SSH host key of its own ({fingerprint}) instead of the one it was given; it \
                 is trusted from now on"
            ),
            false => format!("the machine answers with the SSH host key {fingerprint}; it is trusted from now on"),
        });
        true
    }
}

/// Whether that text is that key; comments do not matter.
fn same(text: &str, key: &PublicKey) -> bool {
    PublicKey::from_openssh(text).is_ok_and(|known| known.key_data() == key.key_data())
}

impl Handler for Trust {
    type Error = SshError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        Ok(self.judge(&shown.public_key()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::SshKey;
    use super::*;

    fn key(seed: u8) -> (String, PublicKey) {
        let text = SshKey::from_seed(&[seed; 32]).unwrap().public().to_owned();
        let key = PublicKey::from_openssh(&text).unwrap();
        (text, key)
    }

    #[test]
    fn the_given_key_is_taken_without_a_word() {
        let (text, given) = key(1);
        let trust = Trust::new(HostKeyRule {
            given: Some(format!("{text} a comment")),
            strict: true,
            accepted: None,
        });
        assert!(trust.judge(&given));
        assert!(trust.take_remarks().is_empty() && trust.take_refused().is_none());
    }

    #[test]
    fn another_key_is_accepted_once_and_remarked_upon_once() {
        let trust = Trust::new(HostKeyRule { given: Some(key(1).0), ..HostKeyRule::default() });
        assert!(trust.judge(&key(2).1) && trust.judge(&key(2).1));
        let remarks = trust.take_remarks();
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].contains("SHA256:"), "{remarks:?}");
        assert!(trust.judge(&key(1).1), "the given one may answer later");
        assert!(!trust.judge(&key(3).1), "a third one may not");
        assert!(trust.take_remarks()[0].contains("refused"));
        assert_eq!(trust.host_keys(), [key(1).0, key(2).0]);
    }

    #[test]
    fn a_machine_that_showed_the_given_key_has_no_other() {
        let trust = Trust::new(HostKeyRule { given: Some(key(1).0), ..HostKeyRule::default() });
        assert!(trust.judge(&key(1).1));
        assert!(!trust.judge(&key(2).1), "another machine at its address");
        assert!(trust.judge(&key(1).1));
        assert_eq!(trust.take_remarks().len(), 1);
    }

    #[test]
    fn a_strict_rule_refuses_every_other_key() {
        let trust = Trust::new(HostKeyRule { given: Some(key(1).0), strict: true, accepted: None });
        assert!(!trust.judge(&key(2).1) && !trust.judge(&key(2).1));
        assert_eq!(trust.take_remarks().len(), 1);
        assert!(trust.take_refused().is_some_and(|shown| shown.starts_with("SHA256:")));
    }
}
