//! `provision import`
use super::App;
use anyhow::Result;
/// The arguments of `import`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {}
impl Args {
    /// x
    /// # Errors
    /// x
    pub fn run(self, _: &App) -> Result<()> {
        Ok(())
    }
}
