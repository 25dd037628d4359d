//! The command line: what can be typed. Each command's arguments are in a file of their own.

mod app;
pub mod cache;
pub mod completions;
pub mod create;
pub mod credentials;
pub mod destroy;
pub mod doctor;
pub mod exec;
mod exit_codes;
pub mod export;
pub mod fetch;
pub mod gc;
pub mod guests;
pub mod import;
mod limit;
pub mod list;
pub mod lock;
pub mod logs;
mod machine;
pub mod man;
mod manifest;
pub mod plan;
pub mod rebuild;
mod recorded;
pub mod reset;
pub mod restore;
mod settings;
pub mod snapshot;
pub mod snapshots;
pub mod ssh;
pub mod ssh_config;
pub mod start;
pub mod status;
pub mod stop;
mod timings;
pub mod url;
mod watched;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::fault::{Cause, Fault};
use crate::process::guardian::{self, Ending};
pub use app::App;
pub use limit::Limit;
pub use machine::Machine;
pub use settings::Settings;

/// From a Debian ISO and a project folder to a running, verified virtual machine.
///
/// `provision create` downloads and verifies the ISO, installs Debian in a virtual machine, adds Docker and your user,
/// copies your project, runs its `make`, and checks that the site answers. Everything it did before is taken from the
/// cache. Settings come from flags, PROVISION_* variables and ./provision.toml, in this order.
#[derive(Debug, Parser)]
#[command(
    name = "provision",
    version,
    propagate_version = true,
    after_help = "`provision help COMMAND` explains a command; `provision --help` lists the exit codes.",
    after_long_help = exit_codes::help(),
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// Print events and results as JSON on standard output: one object per line, each with `event` and `time`
    #[arg(long, global = true)]
    pub json: bool,
    /// Tell more; show all of what programs in the guest print
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Tell only results, warnings and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// When to use colours; `auto` honours `NO_COLOR` and uses them on a terminal only
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value_t,
        hide_possible_values = false
    )]
    pub color: Color,
    /// Give the whole run no more time than this, as in 90m or 2h: it ends as on Ctrl-C, and what has finished stays. Not for
    /// `ssh`
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = limit::VARIABLE,
        hide_env_values = true,
        value_parser = limit::limit,
        help_heading = "Run"
    )]
    pub timeout: Option<Limit>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always, into files too.
    Always,
    /// Never, not even on a terminal.
    Never,
}

/// A command with its arguments.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the machine, or bring it up to date, start and check it
    ///
    /// Runs every stage that is not cached: media, install, docker, account, project, verify. After a failure or an
    /// interruption the same command goes on from the last stage that ended. When nothing has changed, the machine is
    /// only started and checked.
    Create(create::Args),
    /// Get what `create --offline` needs, without making a machine
    ///
    /// Gets the ISO, Docker's packages (for which a machine of its own is installed and removed again; its checkpoints
    /// stay), the images that the project's Dockerfiles name, and again what an earlier build of them fetched. What a
    /// build fetches while it runs cannot be known before it ran once: for a project that was never built with this cache
    /// a `create` with a network is needed. Images of other registries than Docker Hub and what builds download by HTTPS
    /// cannot be kept.
    Fetch(fetch::Args),
    /// Make the machine clean again, from checkpoints
    ///
    /// Takes it back to the memory that `create` kept, else replaces its disk by an empty one on its last checkpoint, starts
    /// and checks it: what was written in the machine since goes. With --from a stage and those after it run anew, even if
    /// they are cached; the new checkpoints are this machine's own, and other machines keep theirs. A failure or an
    /// interruption before its disk is replaced leaves the machine as it was; the checks come after that. A machine that is
    /// not there yet is made, for another login (--login, --name) too.
    Rebuild(rebuild::Args),
    /// Pin what a machine was made from in provision.lock: the ISO, the packages, the images
    ///
    /// The file lies beside provision.toml. `provision create --locked` makes a machine of just that, on any host, or
    /// tells what differs. Packages that their mirror has no more come from Debian's snapshot archive.
    Lock(lock::Args),
    /// Show what `create` would do and why, without doing it
    Plan(plan::Args),
    /// Show one machine: whether it runs, its ports, how far it is made
    Status(status::Args),
    /// List the machines on this host
    List(list::Args),
    /// Start a stopped machine
    Start(start::Args),
    /// Shut a machine down
    Stop(stop::Args),
    /// Take a machine back to how `create` left it, running
    ///
    /// Goes on from the memory that was kept once the site had answered, which takes seconds. What was changed in the
    /// machine since is lost.
    Reset(reset::Args),
    /// Keep how a machine is now: its disk and, if it runs, its memory
    ///
    /// The machine goes on. `provision restore NAME` takes it back there, `provision snapshot rm NAME` removes the snapshot.
    Snapshot(snapshot::Args),
    /// List a machine's snapshots
    Snapshots(snapshots::Args),
    /// Take a machine back to a snapshot; what it is now is lost
    Restore(restore::Args),
    /// Open a shell in the guest, or run a command with a terminal
    Ssh(ssh::Args),
    /// Print a block for OpenSSH's configuration, by which editors and rsync reach the machine
    ///
    /// `provision ssh-config > FILE`, and `Include FILE` at the top of ~/.ssh/config; or for one command
    /// `ssh -F FILE NAME`, `rsync -e 'ssh -F FILE' … NAME:`. The machine's name is the host's. Print it anew when a start has
    /// changed the machine's port.
    SshConfig(ssh_config::Args),
    /// Run a command in the guest and exit with its code
    Exec(exec::Args),
    /// Show what was logged: the console, the installer, make
    Logs(logs::Args),
    /// Show how to reach the site from this host
    Url(url::Args),
    /// Show the guest user's password, and where its SSH key is
    Credentials(credentials::Args),
    /// Write a machine or a checkpoint as a disk image that runs elsewhere
    ///
    /// The machine must be stopped. The image lies on nothing, leaves out what is empty and, where the format can, is
    /// compressed. An OVA is for VirtualBox, a containerdisk for KubeVirt. With --seal the image has no keys
    /// of yours and may be handed out.
    Export(export::Args),
    /// Make a machine of an image: an OVA, a qcow2 or a VDI
    Import(import::Args),
    /// Delete a machine; the cache stays
    Destroy(destroy::Args),
    /// Check this host: packages, accelerator, disk space, ports
    ///
    /// Tells of each finding what mends it. With --json the result has `ok` (whether QEMU's programs and `ssh` are there, as the exit
    /// code tells), and each finding `state` and, where there is something to mend, `hint`.
    Doctor(doctor::Args),
    /// Find and remove what interrupted runs left
    Gc(gc::Args),
    /// Look after the cache of ISOs and checkpoints
    Cache(cache::Args),
    /// List the guest definitions
    Guests(guests::Args),
    /// Print the script by which a shell completes this program's commands and flags
    ///
    /// bash: `provision completions bash > ~/.local/share/bash-completion/completions/provision`.
    /// zsh: `provision completions zsh > FOLDER/_provision`, with a FOLDER of `$fpath`.
    /// fish: `provision completions fish > ~/.config/fish/completions/provision.fish`.
    Completions(completions::Args),
    /// Print this program's manual page, or write a page for each command too
    ///
    /// `provision man --output ~/.local/share/man/man1`, then `man provision-create`.
    Man(man::Args),
    /// Run a machine's program for as long as the process at the other end of standard input lives
    #[command(name = guardian::SUBCOMMAND, hide = true)]
    Guard {
        /// Whether it is interrupted rather than killed.
        #[arg(long)]
        interrupt: bool,
        /// Where its PID and output are kept.
        run_dir: PathBuf,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

impl Command {
    /// Carries the command out; `exec` has an exit code of its own.
    ///
    /// # Errors
    /// The command's own.
    pub fn run(&self, app: &App) -> Result<ExitCode> {
        let done = match self {
            Self::Exec(args) => return args.run(app),
            Self::Create(args) => args.run(app),
            Self::Fetch(args) => args.run(app),
            Self::Rebuild(args) => args.run(app),
            Self::Lock(args) => args.run(app),
            Self::Plan(args) => args.run(app),
            Self::Status(args) => args.run(app),
            Self::List(args) => args.run(app),
            Self::Start(args) => args.run(app),
            Self::Stop(args) => args.run(app),
            Self::Reset(args) => args.run(app),
            Self::Snapshot(args) => args.run(app),
            Self::Snapshots(args) => args.run(app),
            Self::Restore(args) => args.run(app),
            Self::Ssh(args) => args.run(app),
            Self::SshConfig(args) => args.run(app),
            Self::Logs(args) => args.run(app),
            Self::Url(args) => args.run(app),
            Self::Credentials(args) => args.run(app),
            Self::Export(args) => args.run(app),
            Self::Import(args) => args.run(app),
            Self::Destroy(args) => args.run(app),
            Self::Doctor(args) => args.run(app),
            Self::Gc(args) => args.run(app),
            Self::Cache(args) => args.run(app),
            Self::Guests(args) => args.run(app),
            Self::Completions(args) => args.run(app),
            Self::Man(args) => args.run(app),
            Self::Guard {
                interrupt,
                run_dir,
                program,
            } => {
                let ending = if *interrupt { Ending::Interrupt } else { Ending::Kill };
                return guardian::guard(run_dir, program, ending);
            }
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

/// The command line of this process. Prints help, or what is wrong, and ends the process where clap does.
///
/// # Errors
/// What is wrong, for a program that asked for JSON.
pub fn parse() -> Result<Cli> {
    Cli::try_parse().map_err(|error| {
        let for_program = std::env::args_os()
            .take_while(|argument| argument != "--")
            .any(|argument| argument == "--json");
        if for_program && error.use_stderr() {
            wrong_usage(&error)
        } else {
            error.exit()
        }
    })
}

/// clap's message as a fault; its usage and its own hints stay in the text.
fn wrong_usage(error: &clap::Error) -> anyhow::Error {
    let text = error.render().to_string();
    let text = text.trim_end();
    Fault::new(Cause::Usage, text.strip_prefix("error: ").unwrap_or(text)).into()
}

#[cfg(test)]
mod tests;
