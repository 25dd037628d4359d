//! From the values that were given to a complete configuration, or to all that is wrong with them.

use std::path::{Path, PathBuf};

use super::problem::{self, Place, Problem};
use super::setting::{Given, Setting};
use super::types::{Config, Docker, Hardware, IsoChoice, Location, Login, MachineName, Network, Ports, Project, Proxy};
use super::{project, value};

/// What a configuration is seen against.
pub struct Surroundings<'a> {
    /// What relative paths of flags and variables start from.
    pub cwd: PathBuf,
    /// The configuration file's folder, if there is a file.
    pub file_dir: Option<PathBuf>,
    /// The known guest definitions.
    pub guests: &'a [String],
    /// The name of the user who runs the program.
    pub host_user: Option<String>,
}

/// The configuration that `given` makes; of several values for one setting the first counts. The problems are
/// empty if and only if there is a configuration.
pub fn resolve(given: Vec<Given>, around: &Surroundings<'_>) -> (Option<Config>, Vec<Problem>) {
    let mut resolver = Resolver {
        given,
        around,
        problems: Vec::new(),
    };
    let config = resolver.config();
    match resolver.problems {
        problems if problems.is_empty() => (config, problems),
        problems => (None, problems),
    }
}

struct Resolver<'a> {
    given: Vec<Given>,
    around: &'a Surroundings<'a>,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    /// `None` only when a problem has been noted.
    fn config(&mut self) -> Option<Config> {
        let login = self.login();
        let name = self.take(Setting::Name, |text| MachineName::try_from(text.to_owned()));
        let guests = self.around.guests;
        let guest = self.take(Setting::Guest, |text| value::guest(text, guests));
        let iso = self.iso();
        let project = self.project();
        let machine = self.machine();
        let ports = self.ports();
        let docker = Docker {
            source: self.take(Setting::DockerSource, value::choice),
            registry_mirror: self.take(Setting::RegistryMirror, value::guest_url),
        };
        let network = Network {
            http_proxy: self.take(Setting::HttpProxy, value::guest_url).map(Proxy::new),
            dns: self.take(Setting::Dns, value::addresses).unwrap_or_default(),
            debian_mirror: self.take(Setting::DebianMirror, value::guest_url),
            snapshot_mirror: self.take(Setting::SnapshotMirror, value::guest_url),
        };
        let login = login?;
        Some(Config {
            name: name.unwrap_or_else(|| MachineName::from(&login)),
            login,
            guest: guest.unwrap_or_else(|| "debian-13".to_owned()),
            iso,
            project,
            machine,
            ports,
            docker,
            network,
            overrides: Some(self.around.file_dir.as_ref().unwrap_or(&self.around.cwd).clone()),
        })
    }

    fn login(&mut self) -> Option<Login> {
        if self.find(Setting::Login).is_some() {
            return self.take(Setting::Login, |text| Login::try_from(text.to_owned()));
        }
        let Some(user) = self.around.host_user.clone() else {
            self.missing_login("it is not given, and this host does not say who you are");
            return None;
        };
        match Login::try_from(user) {
            Ok(login) => Some(login),
            Err(reason) => {
                self.missing_login(&format!(
                    "it is not given, and your user name here will not do: {reason}"
                ));
                None
            }
        }
    }

    fn missing_login(&mut self, text: &str) {
        let place = Place::Default("login".to_owned());
        let hint = "`--login LOGIN`, or login = \"LOGIN\" in provision.toml";
        self.problems.push(Problem::new(place, text).hint(hint));
    }

    fn project(&mut self) -> Project {
        let (place, dir) = if let Some((given, dir)) = self.path(Setting::Project) {
            (given.place, dir)
        } else {
            let dir = self.around.file_dir.as_ref().unwrap_or(&self.around.cwd);
            (Place::Default("project".to_owned()), dir.clone())
        };
        if let Some(lack) = project::lacks(&dir) {
            let hint = "`--project DIR` names the folder that holds Makefile and srcs/";
            self.problems.push(Problem::new(place, lack).hint(hint));
        }
        Project {
            dir,
            target: self.take(Setting::Target, value::target).flatten(),
            env: self.existing(Setting::Env, Path::is_file, "file"),
            secrets: self.existing(Setting::Secrets, Path::is_dir, "folder"),
            make_timeout: self.take(Setting::MakeTimeout, value::duration),
        }
    }

    fn machine(&mut self) -> Hardware {
        Hardware {
            program: self.take(Setting::Machine, value::choice).unwrap_or_default(),
            accelerator: self.take(Setting::Accelerator, value::choice).unwrap_or_default(),
            cpus: self.take(Setting::Cpus, value::cpus).unwrap_or(2),
            memory_mib: self.take(Setting::Memory, value::memory).unwrap_or(4 * 1024),
            disk_gib: self.take(Setting::Disk, value::disk).unwrap_or(20),
            stall_timeout: self.take(Setting::StallTimeout, value::duration),
            installer: self.take(Setting::Installer, value::choice),
        }
    }

    fn ports(&mut self) -> Ports {
        let ports = Ports {
            https: self.take(Setting::HttpsPort, value::port),
            ssh: self.take(Setting::SshPort, value::port),
        };
        if let (Some(https), Some(ssh)) = (ports.https, ports.ssh)
            && https == ssh
        {
            self.note(Setting::SshPort, format!("{ssh} is the port for https already"));
        }
        ports
    }

    fn iso(&mut self) -> Option<IsoChoice> {
        let flag = self.find(Setting::Iso);
        if flag.is_some() {
            // The file's checksum belongs to the file's ISO, not to the one of the command line.
            self.given.retain(|given| {
                let checksum = matches!(given.setting, Setting::IsoSha256 | Setting::IsoSha512);
                !(checksum && matches!(given.place, Place::Line { .. }))
            });
        }
        let located = flag
            .or_else(|| self.find(Setting::IsoPath))
            .or_else(|| self.find(Setting::IsoUrl));
        let checksum = self.checksum();
        let Some(located) = located else {
            if let Some(given) = self.find(Setting::IsoSha256).or_else(|| self.find(Setting::IsoSha512)) {
                self.note(given.setting, "a checksum without an ISO".to_owned());
            }
            return None;
        };
        if located.setting == Setting::IsoPath && self.find(Setting::IsoUrl).is_some() {
            self.note(
                Setting::IsoUrl,
                "the ISO has a path already; give one of both".to_owned(),
            );
        }
        let is_url = match located.setting {
            Setting::IsoUrl => true,
            Setting::IsoPath => false,
            _ => located.text.contains("://"),
        };
        let location = if is_url {
            Location::Url(self.take(located.setting, value::url)?)
        } else {
            Location::File(self.existing(located.setting, Path::is_file, "file")?)
        };
        let checksum_given =
            checksum.is_some() || self.find(Setting::IsoSha256).is_some() || self.find(Setting::IsoSha512).is_some();
        if is_url && !checksum_given {
            let problem = Problem::new(located.place, "an ISO from an address needs a checksum");
            self.problems
                .push(problem.hint("`--iso-sha256 HEX` or `--iso-sha512 HEX`"));
        }
        Some(IsoChoice { location, checksum })
    }

    fn checksum(&mut self) -> Option<super::types::Checksum> {
        let short = self.take(Setting::IsoSha256, value::sha256);
        let long = self.take(Setting::IsoSha512, value::sha512);
        let (Some(_), Some(_)) = (&short, &long) else {
            return short.or(long);
        };
        let rank = |given: Option<Given>| given.map(|given| matches!(given.place, Place::Line { .. }));
        match rank(self.find(Setting::IsoSha256)).cmp(&rank(self.find(Setting::IsoSha512))) {
            std::cmp::Ordering::Less => short,
            std::cmp::Ordering::Greater => long,
            std::cmp::Ordering::Equal => {
                self.note(
                    Setting::IsoSha512,
                    "the ISO has a SHA-256 already; give one of both".to_owned(),
                );
                None
            }
        }
    }

    fn find(&self, setting: Setting) -> Option<Given> {
        self.given.iter().find(|given| given.setting == setting).cloned()
    }

    /// The setting's value, if it was given and is right; what is wrong with it is noted.
    fn take<T>(&mut self, setting: Setting, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let given = self.find(setting)?;
        match read(&given.text) {
            Ok(value) => Some(value),
            Err(text) => {
                self.note(setting, text);
                None
            }
        }
    }

    /// Notes what is wrong with a setting that was given.
    fn note(&mut self, setting: Setting, text: String) {
        let Some(given) = self.find(setting) else { return };
        let text = match (&given.place, setting.spec().key) {
            (Place::Line { .. }, Some((_, key))) => format!("`{key}`: {text}"),
            _ => text,
        };
        self.problems.push(Problem::new(given.place, text));
    }

    /// The setting as an absolute path: seen from the file's folder if it stands in the file.
    fn path(&mut self, setting: Setting) -> Option<(Given, PathBuf)> {
        let given = self.find(setting)?;
        if given.text.is_empty() {
            self.note(setting, "the path is empty".to_owned());
            return None;
        }
        let base = match &given.place {
            Place::Line { .. } => self.around.file_dir.as_ref().unwrap_or(&self.around.cwd),
            _ => &self.around.cwd,
        };
        let path = base.join(&given.text);
        Some((given, path))
    }

    fn existing(&mut self, setting: Setting, is: impl Fn(&Path) -> bool, kind: &str) -> Option<PathBuf> {
        let (_, path) = self.path(setting)?;
        if !is(&path) {
            self.note(setting, problem::missing(kind, &path));
        }
        Some(path)
    }
}
