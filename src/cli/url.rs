//! `provision url`

use anyhow::{Result, bail};
use serde::Serialize;

use super::{App, Machine};
use crate::fault::{Cause, Fault};
use crate::report::{Output, Paint};

/// The arguments of `url`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Which machine.
    #[command(flatten)]
    pub machine: Machine,
}

/// The ways to the site.
#[derive(Serialize)]
struct Shown {
    url: String,
    domain: String,
    address: &'static str,
    port: u16,
    curl: String,
    browser: String,
}

impl Output for Shown {
    fn text(&self, paint: Paint) -> String {
        format!(
            "{}\n\nIn a terminal:\n  {}\nIn Chromium or Chrome:\n  {}\nIn every program, with this line in /etc/hosts:\n  {} {}\n",
            paint.bold(&self.url),
            self.curl,
            self.browser,
            self.address,
            self.domain
        )
    }
}

impl Args {
    /// Shows how to reach the site.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn run(&self, app: &App) -> Result<()> {
        let instance = app.instance(&self.machine)?;
        let record = instance.require()?;
        if record.https_port == 0 {
            let message = format!("the machine {} is not made yet", instance.name);
            bail!(Fault::new(Cause::Usage, message).hint(instance.to_be_made()));
        }
        if !instance.runs(&record) {
            let name = &instance.name;
            app.events.note(if instance.is_busy() {
                instance.busy().message
            } else {
                format!("{name} is off: `provision start --name {name}` starts it")
            });
        }
        let (domain, port) = (record.login.domain(), record.https_port);
        let url = format!("{}/", record.site());
        app.reporter.output(&Shown {
            curl: format!("curl --insecure --resolve {domain}:{port}:127.0.0.1 {url}"),
            browser: format!("chromium --host-resolver-rules='MAP {domain} 127.0.0.1' {url}"),
            url,
            domain,
            address: "127.0.0.1",
            port,
        })
    }
}
