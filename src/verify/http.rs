//! Port 80. Only 443 is forwarded to the host, so this is asked in the guest.

use anyhow::Result;

use super::{Context, GUEST, Verdict};
use crate::ssh::Exec;

/// Whether the guest refuses connections to the site's port 80.
///
/// # Errors
/// When the guest cannot be asked.
pub(super) fn check(context: &mut Context<'_>) -> Result<Verdict> {
    // A proxy would answer in the site's place.
    let command = format!(
        "curl --silent --output /dev/null --noproxy '*' --max-time 60 http://{}/",
        context.login.domain()
    );
    let job = Exec::new(command).limit(GUEST).cancel(context.cancel);
    let status = context.session.exec(&job, None, &mut |_, _| ())?;
    Ok(judge(status))
}

/// What curl's exit code says (its manual, "EXIT CODES").
fn judge(status: i32) -> Verdict {
    match status {
        7 => Verdict::Holds("nothing listens there".into()),
        6 => Verdict::Broken("the site's name is not known in the guest".into()),
        28 => Verdict::Broken("it takes connections and is silent".into()),
        127 => Verdict::Broken("it could not be checked: curl is not in the guest".into()),
        0 | 52 | 56 => Verdict::Broken("it answers".into()),
        other => Verdict::Broken(format!("it was not refused (curl's exit code {other})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_holds() {
        for status in [0, 1, 6, 28, 52, 56, 127] {
            assert!(matches!(judge(status), Verdict::Broken(_)), "{status}");
        }
        assert!(matches!(judge(7), Verdict::Holds(_)));
    }
}
