#!/bin/sh
# Installs Docker's engine, Compose (as `docker compose` and as `docker-compose`), Buildx, git, make,
# curl and rsync, and proves that they answer. Runs as root in a Debian guest; may be run again.
#
#   docker.sh [--source debian]                      Debian's own packages (Debian 13 and later)
#   docker.sh --source docker-ce --repository URL --key-url URL [--key-fingerprint HEX]
#       --registry-mirror URL   a mirror of Docker Hub; may be repeated, the first is asked first
#       --http-proxy -          a proxy for apt, the engine and builds: the first line of standard input is its
#                               address, which may hold a password
#       --dns ADDRESS           for the guest and its containers; may be repeated
#       --snapshot URL --snapshot-time TIME
#                               Debian's packages come from this archive of its archive, as it was then
#       --pin NAME=VERSION      no other version of this package; may be repeated
set -eu

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

say() {
    echo "docker: $1"
}

die() {
    echo "docker: error: $1" >&2
    exit 1
}

# Everything given ends up in a configuration file: no character may be special in any of them.
checked() { # OPTION VALUE
    case $2 in
        '' | *[!A-Za-z0-9:/._@%~?=+,\[\]-]*) die "$1: not acceptable: '$2'" ;;
    esac
}

source=debian repository='' key_url='' key_fingerprint='' mirrors='' http_proxy='' dns=''
snapshot='' snapshot_time='' pins=''
apt_folder=/run

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1: unknown, or its value is missing"
    checked "$1" "$2"
    case $1 in
        --source) source=$2 ;;
        --repository) repository=$2 ;;
        --key-url) key_url=$2 ;;
        --key-fingerprint) key_fingerprint=$2 ;;
        --registry-mirror) mirrors="$mirrors $2" ;;
        --http-proxy)
            [ "$2" = - ] || die "$1: the address comes on standard input"
            read -r http_proxy || die "$1: there is no address on standard input"
            # Never shown: it may hold a password, which may hold more than other values.
            case $http_proxy in
                '' | *[\"\'\\\`\$[:space:][:cntrl:]]*) die "$1: its address is empty or has a character that must be encoded (%22 for a quote)" ;;
            esac
            ;;
        --dns) dns="$dns $2" ;;
        --snapshot) snapshot=$2 ;;
        --snapshot-time) snapshot_time=$2 ;;
        --pin) pins="$pins $2" ;;
        *) die "$1: unknown option" ;;
    esac
    shift 2
done

case $source in
    debian) ;;
    docker-ce)
        if [ -z "$repository" ] || [ -z "$key_url" ]; then
            die "docker-ce needs --repository and --key-url"
        fi
        ;;
    *) die "--source: debian or docker-ce, not '$source'" ;;
esac

json_list() { # WORD...: ["WORD", ...]
    printf '['
    separator=''
    for word; do
        printf '%s"%s"' "$separator" "$word"
        separator=', '
    done
    printf ']'
}

host_of() { # URL: HOST[:PORT], without user name and password
    rest=${1#*://}
    rest=${rest%%/*}
    echo "${rest##*@}"
}

# The DHCP client writes /etc/resolv.conf: it is told to put these in place of the ones it gets.
configure_resolver() {
    if [ -e /etc/dhcpcd.conf ]; then
        sed -i '/^static domain_name_servers=/d' /etc/dhcpcd.conf
        [ -z "$dns" ] || echo "static domain_name_servers=${dns# }" >> /etc/dhcpcd.conf
    fi
    if [ -e /etc/dhcp/dhclient.conf ]; then
        sed -i '/^supersede domain-name-servers /d' /etc/dhcp/dhclient.conf
        [ -z "$dns" ] || echo "supersede domain-name-servers $(echo "${dns# }" | sed 's/ /, /g');" >> /etc/dhcp/dhclient.conf
    fi
    [ -n "$dns" ] || return 0
    say "name servers:$dns"
    for address in $dns; do
        echo "nameserver $address"
    done > /etc/resolv.conf
}

private() { # FILE: standard input becomes FILE, which root alone may read
    rm -f "$1"
    (umask 077 && cat > "$1")
}

configure_proxy() {
    rm -f /etc/apt/apt.conf.d/90proxy /etc/systemd/system/docker.service.d/proxy.conf /etc/docker/proxy
    [ -n "$http_proxy" ] || return 0
    say "proxy: $(host_of "$http_proxy")"
    private /etc/apt/apt.conf.d/90proxy << EOF
Acquire::http::Proxy "$http_proxy";
Acquire::https::Proxy "$http_proxy";
EOF
    case $http_proxy in
        # A password is for root's eyes: others' apt warns of a file that it may not read, and works.
        *@*) ;;
        *) chmod 644 /etc/apt/apt.conf.d/90proxy ;;
    esac
    no_proxy=localhost,127.0.0.0/8,::1
    for mirror in $mirrors; do
        no_proxy="$no_proxy,$(host_of "$mirror")"
    done
    # In a file of its own: systemd tells every user what stands in a unit (systemd.exec(5), Environment=).
    mkdir -p /etc/systemd/system/docker.service.d /etc/docker
    private /etc/docker/proxy << EOF
HTTP_PROXY=$http_proxy
HTTPS_PROXY=$http_proxy
NO_PROXY=$no_proxy
EOF
    printf '[Service]\nEnvironmentFile=/etc/docker/proxy\n' > /etc/systemd/system/docker.service.d/proxy.conf
    # Builds and containers learn it from the client's configuration, new users from the skeleton.
    for home in /root /etc/skel; do
        mkdir -p $home/.docker
        private $home/.docker/config.json << EOF
{
  "proxies": {
    "default": {
      "httpProxy": "$http_proxy",
      "httpsProxy": "$http_proxy",
      "noProxy": "$no_proxy"
    }
  }
}
EOF
    done
}

# Comes before the packages, so that a new engine starts only once.
configure_engine() {
    insecure=''
    for mirror in $mirrors; do
        case $mirror in
            # Without this BuildKit insists on TLS, whatever the mirror's address says.
            http://*) insecure="$insecure $(host_of "$mirror")" ;;
        esac
    done
    mkdir -p /etc/docker
    {
        echo '{'
        # shellcheck disable=SC2086 # lists of words
        {
            [ -z "$mirrors" ] || echo "  \"registry-mirrors\": $(json_list $mirrors),"
            [ -z "$insecure" ] || echo "  \"insecure-registries\": $(json_list $insecure),"
            [ -z "$dns" ] || echo "  \"dns\": $(json_list $dns),"
        }
        echo '  "log-driver": "json-file",'
        echo '  "log-opts": { "max-size": "10m", "max-file": "3" }'
        echo '}'
    } > /etc/docker/daemon.json.new
    mv /etc/docker/daemon.json.new /etc/docker/daemon.json
}

# Settings of apt's for this run alone: the archive as it was, whose signature was to expire long ago, and no other
# version of a package than the pinned one, even if that is older than what is installed (apt_preferences(5)).
configure_pins() {
    [ -n "$snapshot" ] || return 0
    say "packages as of $snapshot_time from $(host_of "$snapshot")"
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    for part in "debian/$snapshot_time $suite" "debian/$snapshot_time $suite-updates" \
        "debian-security/$snapshot_time $suite-security"; do
        echo "deb [check-valid-until=no] $snapshot/$part main"
    done > $apt_folder/provision-sources.list
    for pin in $pins; do
        printf 'Package: %s\nPin: version %s\nPin-Priority: 1001\n\n' "${pin%%=*}" "${pin#*=}"
    done > $apt_folder/provision-preferences
    cat > $apt_folder/provision-apt.conf << EOF
Dir::Etc::sourcelist "$apt_folder/provision-sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "$apt_folder/provision-preferences";
EOF
    export APT_CONFIG=$apt_folder/provision-apt.conf
}

# Whatever fails here is thrown away with the disk layer it was written to: no need to force each
# file onto the disk, or to fetch descriptions in other languages.
apt() {
    apt-get -q -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Install-Recommends=false \
        -o APT::Update::Error-Mode=any -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=false "$@"
}

add_docker_ce() {
    say "signing key of $repository"
    apt install -y ca-certificates curl
    mkdir -p /etc/apt/keyrings
    key=/etc/apt/keyrings/docker.asc
    # By the environment: everybody in the guest may read a command line.
    (
        export http_proxy https_proxy="$http_proxy"
        exec curl --fail --silent --show-error --location --output $key.new "$key_url"
    ) || die "$key_url: not to be had"
    if [ -n "$key_fingerprint" ]; then
        apt install -y gpg
        # apt would trust every key in the file: that one alone may be there, and subkeys of it.
        found=$(gpg --show-keys --with-colons $key.new | awk -F: '
            $1 == "pub" || $1 == "sec" { keys++; first = 1 }
            $1 == "fpr" && first { print $10; first = 0 }
            END { if (keys != 1) print keys + 0 " keys" }')
        [ "$(echo "$found" | tr a-f A-F)" = "$(echo "$key_fingerprint" | tr a-f A-F)" ] ||
            die "$key_url: not the key $key_fingerprint alone"
    fi
    mv $key.new $key
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    echo "deb [signed-by=$key] $repository $suite stable" > /etc/apt/sources.list.d/docker.list
    # Docker's own repository keeps its old versions.
    [ -z "$snapshot" ] || cat /etc/apt/sources.list.d/docker.list >> $apt_folder/provision-sources.list
}

packages() {
    # The engine unpacks images with pigz where that is installed. rsync from the host needs one in the guest.
    echo ca-certificates curl git iptables make openssh-client pigz rsync
    if [ "$source" = docker-ce ]; then
        echo docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin
    else
        echo docker.io docker-cli docker-buildx docker-compose
    fi
}

install_packages() {
    # The index of manual pages has a timer of its own; after each package it is only waited for.
    echo man-db man-db/auto-update boolean false | debconf-set-selections
    rm -f /var/lib/man-db/auto-update
    say "package lists"
    apt update
    if [ "$source" = docker-ce ]; then
        add_docker_ce
        apt update
    elif [ -z "$(apt-cache policy docker-buildx)" ]; then
        die "this Debian has no Compose 2 of its own: choose the source docker-ce"
    fi
    say "packages"
    # shellcheck disable=SC2046 # a list of words
    apt install -y $(packages)
    apt clean
    if [ "$source" = docker-ce ]; then
        # The old spelling, for the many Makefiles that use it.
        printf '#!/bin/sh\nexec docker compose "$@"\n' > /usr/local/bin/docker-compose
        chmod 755 /usr/local/bin/docker-compose
    fi
}

verify() {
    # A command that fails within an argument would end nothing.
    engine=$(docker info --format 'engine {{.ServerVersion}}, cgroup driver {{.CgroupDriver}}')
    say "$engine"
    compose=$(docker compose version --short)
    say "docker compose $compose"
    compose=$(docker-compose version --short)
    say "docker-compose $compose"
    buildx=$(docker buildx version)
    say "$buildx"
}

configure_resolver
configure_proxy
configure_engine
configure_pins
if systemctl --quiet is-active docker; then
    systemctl daemon-reload
    systemctl restart docker
fi
install_packages
systemctl --quiet enable --now docker
verify
