use super::*;
use crate::media::testing::{KeyMaker, signed_at};

const DEBIAN: &[u8] = include_bytes!("../../../provision/keys/debian-cd.asc");
const GNUPG_KEY: &[u8] = include_bytes!("fixtures/key.asc");
const GNUPG_SUMS: &[u8] = include_bytes!("fixtures/SHA512SUMS");
const GNUPG_SIGNATURE: &[u8] = include_bytes!("fixtures/SHA512SUMS.sign");

/// 2020-06-01 and one year, in seconds.
const THEN: u32 = 1_590_969_600;
const YEAR: u32 = 365 * 86_400;

fn refusal(data: &[u8], signature: &[u8], key: &[u8]) -> String {
    let error = verify(data, signature, key).unwrap_err();
    let fault = Fault::of(&error).unwrap();
    assert_eq!(fault.cause, Cause::Verification);
    assert!(fault.hint.is_some() || fault.message.contains("key cannot be read"));
    fault.message.clone()
}

#[test]
fn the_key_in_the_program_is_debians() {
    assert_eq!(
        fingerprints(DEBIAN).unwrap(),
        ["DF9B9C49EAA9298432589D76DA87E80D6294BE9B"]
    );
    let keys = parse_keys(DEBIAN).unwrap();
    let (own, validity) = of_primary(&keys[0]).unwrap();
    assert!(may_sign(own));
    assert!(validity.covers(Timestamp::now()));
}

#[test]
fn what_gnupg_signed_with_a_subkey_holds_though_the_key_has_expired_since() {
    let signed = verify(GNUPG_SUMS, GNUPG_SIGNATURE, GNUPG_KEY).unwrap();
    assert_eq!(signed.fingerprint, "C4DF0F7F89275F07B6DEE2973150287BC3F3BC3F");
    let made = signed.made.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(made.as_secs(), u64::from(THEN));
}

#[test]
fn a_changed_file_is_refused() {
    let mut changed = GNUPG_SUMS.to_vec();
    changed[0] ^= 1;
    let message = refusal(&changed, GNUPG_SIGNATURE, GNUPG_KEY);
    assert!(message.contains("does not fit the file"), "{message}");
}

#[test]
fn another_key_is_refused_by_name() {
    let message = refusal(GNUPG_SUMS, GNUPG_SIGNATURE, DEBIAN);
    assert!(
        message.contains("86A2BCD9D90B74DCE34D0519D99608989C56C6B0"),
        "{message}"
    );
    assert!(
        message.contains("DF9B9C49EAA9298432589D76DA87E80D6294BE9B"),
        "{message}"
    );
}

#[test]
fn what_is_no_signature_is_refused() {
    refusal(GNUPG_SUMS, b"<html>log in</html>", GNUPG_KEY);
    refusal(GNUPG_SUMS, GNUPG_KEY, GNUPG_KEY);
    refusal(GNUPG_SUMS, GNUPG_SIGNATURE, b"");
}

#[test]
fn one_of_several_keys_is_enough() {
    let (one, two) = (KeyMaker::default().make(), KeyMaker::default().make());
    let both = [one.public(), two.public()];
    let armoured = crate::media::testing::armour(&both);
    assert_eq!(fingerprints(&armoured).unwrap().len(), 2);
    let signed = verify(b"x", &two.sign(b"x"), &armoured).unwrap();
    assert_eq!(signed.fingerprint, two.fingerprint());
}

#[test]
fn dates_are_looked_at() {
    let maker = KeyMaker {
        created: THEN,
        lifetime: Some(YEAR),
        ..KeyMaker::default()
    };
    let key = maker.make();
    let armoured = key.armoured();
    let table = [
        (THEN - 86_400, Some("not valid when it was made")),
        (THEN + YEAR / 2, None),
        (THEN + YEAR + 86_400, Some("not valid when it was made")),
    ];
    for (when, refused) in table {
        let signature = signed_at(&key, b"x", when, None);
        match refused {
            None => drop(verify(b"x", &signature, &armoured).unwrap()),
            Some(why) => {
                let message = refusal(b"x", &signature, &armoured);
                assert!(message.contains(why), "{message}");
            }
        }
    }
    let key = KeyMaker {
        created: THEN,
        ..KeyMaker::default()
    }
    .make();
    let message = refusal(b"x", &signed_at(&key, b"x", THEN + 1, Some(60)), &key.armoured());
    assert!(message.contains("has expired"), "{message}");
    let ahead = Timestamp::now().as_secs() + YEAR;
    let message = refusal(b"x", &signed_at(&key, b"x", ahead, None), &key.armoured());
    assert!(message.contains("in the future"), "{message}");
}

#[test]
fn a_revoked_key_is_refused() {
    let key = KeyMaker {
        revoked: true,
        ..KeyMaker::default()
    }
    .make();
    let message = refusal(b"x", &key.sign(b"x"), &key.armoured());
    assert!(message.contains("revoked"), "{message}");
}

#[test]
fn a_key_for_something_else_is_refused() {
    let key = KeyMaker {
        can_sign: false,
        ..KeyMaker::default()
    }
    .make();
    let message = refusal(b"x", &key.sign(b"x"), &key.armoured());
    assert!(message.contains("not meant for signing"), "{message}");
}
