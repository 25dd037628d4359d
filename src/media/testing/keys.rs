//! PGP keys of every kind that a test needs.

use pgp::composed::{
    ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey, SubpacketConfig,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{Duration, KeyDetails as _, Password, Tag, Timestamp};
use ssh_key::rand_core::OsRng;

/// What a key is to be like.
pub struct KeyMaker {
    /// Seconds since 1970.
    pub created: u32,
    /// Seconds, or for ever.
    pub lifetime: Option<u32>,
    /// Whether its self-signature allows signing.
    pub can_sign: bool,
    /// Whether it has revoked itself.
    pub revoked: bool,
}

impl Default for KeyMaker {
    fn default() -> Self {
        Self {
            created: 1_600_000_000,
            lifetime: None,
            can_sign: true,
            revoked: false,
        }
    }
}

/// A secret key.
pub struct Key(SignedSecretKey);

impl KeyMaker {
    /// Makes an Ed25519 key.
    pub fn make(&self) -> Key {
        let mut key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_certify(true)
            .created_at(Timestamp::from_secs(self.created))
            .primary_user_id("Test <test@example.invalid>".into())
            .build()
            .unwrap()
            .generate(OsRng)
            .unwrap();
        let secret = &key.primary_key;
        let config = |kind, subpackets| {
            let mut config = SignatureConfig::v4(kind, secret.algorithm(), HashAlgorithm::Sha512);
            config.hashed_subpackets = subpackets;
            config
        };
        let mut flags = KeyFlags::default();
        flags.set_certify(true);
        flags.set_sign(self.can_sign);
        let mut said = dated(self.created, &key);
        said.push(Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap());
        if let Some(lifetime) = self.lifetime {
            let lifetime = SubpacketData::KeyExpirationTime(Duration::from_secs(lifetime));
            said.push(Subpacket::regular(lifetime).unwrap());
        }
        let (password, public) = (Password::empty(), secret.public_key());
        let id = key.details.users[0].id.clone();
        let own = config(SignatureType::CertPositive, said)
            .sign_certification(secret, public, &password, Tag::UserId, &id)
            .unwrap();
        let revocation = config(SignatureType::KeyRevocation, dated(self.created, &key))
            .sign_key(secret, &password, public)
            .unwrap();
        key.details.users[0].signatures = vec![own];
        if self.revoked {
            key.details.revocation_signatures = vec![revocation];
        }
        Key(key)
    }
}

impl Key {
    /// Its public half.
    pub fn public(&self) -> SignedPublicKey {
        self.0.to_public_key()
    }

    /// Its public half, armoured.
    pub fn armoured(&self) -> Vec<u8> {
        armour(&[self.public()])
    }

    /// Its fingerprint in upper-case digits.
    pub fn fingerprint(&self) -> String {
        format!("{:X}", self.0.fingerprint())
    }

    /// An armoured detached signature over `data`, made now.
    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        signed_at(self, data, Timestamp::now().as_secs(), None)
    }
}

/// An armoured detached signature over `data` that says it was made `when` and holds for `lifetime` seconds.
pub fn signed_at(key: &Key, data: &[u8], when: u32, lifetime: Option<u32>) -> Vec<u8> {
    let mut hashed = dated(when, &key.0);
    if let Some(lifetime) = lifetime {
        let lifetime = SubpacketData::SignatureExpirationTime(Duration::from_secs(lifetime));
        hashed.push(Subpacket::regular(lifetime).unwrap());
    }
    let subpackets = SubpacketConfig::UserDefined {
        hashed,
        unhashed: Vec::new(),
    };
    let password = Password::empty();
    let hash = HashAlgorithm::Sha512;
    DetachedSignature::sign_binary_data_with_subpackets(OsRng, &key.0.primary_key, &password, hash, data, subpackets)
        .unwrap()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
}

/// Several public keys in one armoured block.
pub fn armour(keys: &[SignedPublicKey]) -> Vec<u8> {
    let mut armoured = Vec::new();
    let source = keys.to_vec();
    pgp::armor::write(&source, pgp::armor::BlockType::PublicKey, &mut armoured, None, true).unwrap();
    armoured
}

fn dated(when: u32, key: &SignedSecretKey) -> Vec<Subpacket> {
    let when = SubpacketData::SignatureCreationTime(Timestamp::from_secs(when));
    let issuer = SubpacketData::IssuerFingerprint(key.fingerprint());
    [when, issuer].map(|data| Subpacket::regular(data).unwrap()).into()
}
