# shellcheck shell=sh
# base-installer/debootstrap_script: the distribution's own script, with the target prepared so that
# dpkg does nothing twice. Sourced by debootstrap, which sets TARGET, SUITE and DEBOOTSTRAP_DIR.

# The disk of an interrupted installation is thrown away, so nothing needs to be forced onto it.
mkdir -p "$TARGET/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io > "$TARGET/etc/dpkg/dpkg.cfg.d/force-unsafe-io"

# Nobody reads documentation on most of these machines, nor programs' words in other languages: `unminimize` unpacks
# them where somebody does. Licences stay.
language=$(debconf-get debian-installer/locale || true)
cat > "$TARGET/etc/dpkg/dpkg.cfg.d/minimized" << EOF
# What was not unpacked when this machine was installed. \`sudo unminimize\` unpacks it and removes this file.
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-include=/usr/share/locale/${language%%_*}/*
path-include=/usr/share/locale/${language%%.*}/*
EOF

# late.sh builds the initramfs once, when everything it is made of is there.
INITRD=No
export INITRD

# shellcheck source=/dev/null
. "$DEBOOTSTRAP_DIR/scripts/$SUITE"
