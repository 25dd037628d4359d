//! What a user finds in a guest.

use super::project::LOGIN;
use super::world::World;

pub fn runs_the_services(world: &World) {
    let running = world.guest("docker ps --format '{{.Names}} {{.Status}}'");
    for service in ["nginx", "wordpress", "mariadb"] {
        let line = running.lines().find(|line| line.contains(service));
        assert!(line.is_some_and(|line| line.contains(" Up ")), "{service}: {running}");
    }
    world.guest("set -e; docker compose version; docker-compose version; docker buildx version; git --version");
    let told = world.guest(&format!(
        "id -un; echo $HOME; stat -c %U ~/data; sudo -n id -u; getent hosts {LOGIN}.42.fr | cut -d' ' -f1; \
         sudo sshd -T | grep -i permitrootlogin"
    ));
    assert_eq!(
        told,
        format!("{LOGIN}\n/home/{LOGIN}\n{LOGIN}\n0\n127.0.0.1\npermitrootlogin no\n")
    );
}

/// Nothing was taken out of the installation that a user would miss: manual pages, and other languages for the asking. No
/// package is installed for it.
pub fn has_pages_and_languages(world: &World) {
    let page = world.guest("man ls");
    assert!(page.contains("list directory contents"), "{page}");
    let french = "sudo localedef -i fr_FR -f UTF-8 fr_FR.UTF-8; export LC_ALL=fr_FR.UTF-8; \
                  date -d 2026-11-29 +%A; ls /nowhere 2>&1";
    let told = world.output(&["exec", "--", "sh", "-c", french]);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.starts_with("dimanche\nls: impossible d"), "{told}");
}
