//! Detached PGP signatures (RFC 9580) by keys that are trusted because they are built in.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag, Timestamp, VerifyingKey};

use crate::fault::{Cause, Fault};

/// How far ahead the signer's clock may be.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// A signature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The fingerprint of the primary key, in upper-case hexadecimal digits.
    pub fingerprint: String,
    /// When the signature was made.
    pub made: SystemTime,
}

/// Checks that `signature` (armoured, one or several) over `data` was made by one of the armoured `keys` or a
/// signing subkey of one, while that key was valid. A key that has expired since does not spoil what it signed
/// before; a revoked key is never trusted, as whoever holds it can choose the date.
///
/// # Errors
/// A [`Fault`] of [`Cause::Verification`] that names the keys.
pub fn verify(data: &[u8], signature: &[u8], keys: &[u8]) -> Result<Signed> {
    let keys = parse_keys(keys)?;
    let signatures = parse_signatures(signature)?;
    let mut refusals = Vec::new();
    for signature in &signatures {
        for key in &keys {
            match verify_by(key, &signature.signature, data) {
                Ok(signed) => return Ok(signed),
                Err(refusal) => refusals.push(refusal),
            }
        }
    }
    Err(refused(&refusals, &signatures, &keys).into())
}

/// The fingerprints of the armoured `keys`, in upper-case hexadecimal digits.
///
/// # Errors
/// When they cannot be read.
pub fn fingerprints(keys: &[u8]) -> Result<Vec<String>> {
    Ok(parse_keys(keys)?.iter().map(|key| name(&key.primary_key)).collect())
}

/// Why a key does not vouch for a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// The signature names another key.
    OtherKey,
    /// It names this key, and something is wrong.
    Bad(String),
}

fn parse_keys(armoured: &[u8]) -> Result<Vec<SignedPublicKey>> {
    let unreadable = || Fault::new(Cause::Verification, "the signing key cannot be read");
    let (keys, _) = SignedPublicKey::from_armor_many(armoured).with_context(unreadable)?;
    let keys = keys.collect::<Result<Vec<_>, _>>().with_context(unreadable)?;
    if keys.is_empty() {
        return Err(unreadable().into());
    }
    Ok(keys)
}

fn parse_signatures(armoured: &[u8]) -> Result<Vec<DetachedSignature>> {
    let unreadable = || {
        Fault::new(Cause::Verification, "this is no armoured OpenPGP signature")
            .hint("a proxy or a login page may answer in the mirror's place")
    };
    let (found, _) = DetachedSignature::from_armor_many(armoured).with_context(unreadable)?;
    let found = found.collect::<Result<Vec<_>, _>>().with_context(unreadable)?;
    if found.is_empty() {
        return Err(unreadable().into());
    }
    Ok(found)
}

fn verify_by(key: &SignedPublicKey, signature: &Signature, data: &[u8]) -> Result<Signed, Refusal> {
    let primary = &key.primary_key;
    if names(signature, primary) {
        let (own, validity) = of_primary(key)?;
        if !may_sign(own) {
            return Err(Refusal::Bad("the key is not meant for signing".to_owned()));
        }
        return check(primary, validity, signature, data, name(primary));
    }
    for subkey in &key.public_subkeys {
        if names(signature, &subkey.key) {
            // The subkey lives no longer than the primary key that vouches for it.
            let (_, primary_validity) = of_primary(key)?;
            let validity = primary_validity.and(of_subkey(key, subkey)?);
            return check(&subkey.key, validity, signature, data, name(primary));
        }
    }
    Err(Refusal::OtherKey)
}

/// Whether `signature` says that `key` made it. One that says nothing is taken to mean every key.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let ids = signature.issuer_key_id();
    let fingerprints = signature.issuer_fingerprint();
    (ids.is_empty() && fingerprints.is_empty())
        || ids.contains(&&key.legacy_key_id())
        || fingerprints.contains(&&key.fingerprint())
}

fn check(
    key: &impl VerifyingKey,
    validity: Validity,
    signature: &Signature,
    data: &[u8],
    fingerprint: String,
) -> Result<Signed, Refusal> {
    let bad = |why: &str| Err(Refusal::Bad(why.to_owned()));
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return bad("it is not a signature over a document");
    }
    if !signature.hash_alg().is_some_and(is_sound) {
        return bad("it uses a hash function that is no longer sound");
    }
    let Some(made) = signature.created() else {
        return bad("it does not say when it was made");
    };
    if !validity.covers(made) {
        return bad("the key was not valid when it was made");
    }
    let now = SystemTime::now();
    if SystemTime::from(made) > now + CLOCK_SKEW {
        return bad("it was made in the future; is this host's clock right?");
    }
    if end(made, signature.signature_expiration_time()).is_some_and(|end| end < now) {
        return bad("it has expired");
    }
    if let Err(error) = signature.verify(key, data) {
        return bad(&format!("it does not fit the file ({error})"));
    }
    Ok(Signed {
        fingerprint,
        made: made.into(),
    })
}

/// From when to when a key may sign.
#[derive(Debug, Clone, Copy)]
struct Validity {
    from: SystemTime,
    until: Option<SystemTime>,
}

impl Validity {
    fn new(key: &impl KeyDetails, binding: &Signature) -> Self {
        Self {
            from: key.created_at().into(),
            until: end(key.created_at(), binding.key_expiration_time()),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            from: self.from.max(other.from),
            until: [self.until, other.until].into_iter().flatten().min(),
        }
    }

    fn covers(&self, when: Timestamp) -> bool {
        let when = SystemTime::from(when);
        self.from <= when && self.until.is_none_or(|until| when <= until)
    }
}

/// `lifetime` after `start`; a lifetime of 0 is none (RFC 9580, 5.2.3.13 and 5.2.3.18).
fn end(start: Timestamp, lifetime: Option<pgp::types::Duration>) -> Option<SystemTime> {
    let lifetime = Duration::from(lifetime?);
    (!lifetime.is_zero()).then(|| SystemTime::from(start) + lifetime)
}

/// The primary key's newest self-signature, and from when to when it makes the key valid.
fn of_primary(key: &SignedPublicKey) -> Result<(&Signature, Validity), Refusal> {
    let primary = &key.primary_key;
    let details = &key.details;
    let revoked = details
        .revocation_signatures
        .iter()
        .any(|s| s.verify_key(primary).is_ok());
    if revoked {
        return Err(Refusal::Bad("the key has been revoked".to_owned()));
    }
    let direct = details
        .direct_signatures
        .iter()
        .filter(|s| s.verify_key(primary).is_ok());
    let certified = details.users.iter().flat_map(|user| {
        let holds =
            |s: &&Signature| s.is_certification() && s.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        user.signatures.iter().filter(holds)
    });
    match direct.chain(certified).max_by_key(|s| s.created()) {
        Some(own) => Ok((own, Validity::new(primary, own))),
        None => Err(Refusal::Bad("the key has no valid self-signature".to_owned())),
    }
}

/// When a subkey may sign. Signing needs its own consent (the embedded back signature), or another's signatures
/// could be claimed (RFC 9580, 5.2.3.34).
fn of_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey) -> Result<Validity, Refusal> {
    let primary = &key.primary_key;
    let bound: Vec<&Signature> = subkey
        .signatures
        .iter()
        .filter(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    if bound.iter().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err(Refusal::Bad("the subkey has been revoked".to_owned()));
    }
    let consents = |s: &&&Signature| {
        let back = s.embedded_signature();
        s.key_flags().sign() && back.is_some_and(|b| b.verify_primary_key_binding(&subkey.key, primary).is_ok())
    };
    match bound.iter().filter(consents).max_by_key(|s| s.created()) {
        Some(binding) => Ok(Validity::new(&subkey.key, binding)),
        None => Err(Refusal::Bad("the subkey is not meant for signing".to_owned())),
    }
}

/// A key without flags may do everything (RFC 9580, 5.2.3.29).
fn may_sign(own: &Signature) -> bool {
    let flags = own.key_flags();
    flags.sign() || flags == KeyFlags::default()
}

const fn is_sound(hash: HashAlgorithm) -> bool {
    !matches!(
        hash,
        HashAlgorithm::None | HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160
    )
}

fn name(key: &impl KeyDetails) -> String {
    format!("{:X}", key.fingerprint())
}

fn refused(refusals: &[Refusal], signatures: &[DetachedSignature], keys: &[SignedPublicKey]) -> Fault {
    let trusted: Vec<String> = keys.iter().map(|key| name(&key.primary_key)).collect();
    let bad = refusals.iter().find_map(|refusal| match refusal {
        Refusal::Bad(why) => Some(why),
        Refusal::OtherKey => None,
    });
    let message = if let Some(why) = bad {
        format!("the signature by key {} is bad: {why}", trusted.join(" or "))
    } else {
        let by: Vec<String> = signatures.iter().map(issuer).collect();
        format!(
            "the signature was made by key {}, but only {} is trusted",
            by.join(" and "),
            trusted.join(" or ")
        )
    };
    Fault::new(Cause::Verification, message).hint(
        "somebody may have tampered with the mirror or the way to it; `--iso PATH --iso-sha512 SUM` uses a file you trust",
    )
}

fn issuer(signature: &DetachedSignature) -> String {
    let signature = &signature.signature;
    let fingerprint = signature.issuer_fingerprint().first().map(|f| format!("{f:X}"));
    let id = || signature.issuer_key_id().first().map(hex::encode_upper);
    fingerprint.or_else(id).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests;
