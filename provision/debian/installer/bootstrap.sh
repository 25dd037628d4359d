# shellcheck shell=sh
# base-installer/debootstrap_script: the distribution's own script, with the target prepared so that
# dpkg does nothing twice. Sourced by debootstrap, which sets TARGET, SUITE and DEBOOTSTRAP_DIR.

# The disk of an interrupted installation is thrown away, so nothing needs to be forced onto it.
mkdir -p "$TARGET/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io > "$TARGET/etc/dpkg/dpkg.cfg.d/force-unsafe-io"

# late.sh builds the initramfs once, when everything it is made of is there.
INITRD=No
export INITRD

# shellcheck source=/dev/null
. "$DEBOOTSTRAP_DIR/scripts/$SUITE"
