# shellcheck shell=sh
# base-installer/debootstrap_script: the distribution's own script, and before it what spares the
# bootstrap all work that is done twice or for nothing. Sourced by debootstrap, which sets TARGET,
# SUITE and DEBOOTSTRAP_DIR and defines the functions that are replaced here.

# shellcheck source=/dev/null
. "$DEBOOTSTRAP_DIR/scripts/$SUITE"

# The disk of an interrupted installation is thrown away, so nothing needs to be forced onto it.
mkdir -p "$TARGET/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io > "$TARGET/etc/dpkg/dpkg.cfg.d/force-unsafe-io"

# Packages are read from the medium where they lie instead of from a copy of it on the disk: the
# link is found from within the target, too, and outside of it.
mkdir -p "$TARGET/media/cdrom"
mount -o bind /cdrom "$TARGET/media/cdrom"
just_get() { # FROM TO
    mkdir -p "${2%/*}"
    case $1 in
        file:///cdrom/*.deb) ln -sf "../../../../media/cdrom/${1#file:///cdrom/}" "$2" ;;
        file:///cdrom/*) [ -e "${1#file://}" ] && cp "${1#file://}" "$2" ;;
        *) error 1 UNKNOWNLOC "unknown location %s" "$1" ;;
    esac
}

# The medium as a whole was verified before the machine was started from it.
verify_checksum() {
    return 0
}

# late.sh builds the initramfs once, when everything it is made of is there.
INITRD=No
export INITRD

# Indexing the kernel's modules takes long: it is begun as soon as they are unpacked, beside dpkg
# instead of within it. Until late.sh takes this diversion away, depmod only waits for that.
# (Debian 12 has the path without /usr.)
mkdir -p "$TARGET/usr/sbin" "$TARGET/var/lib/dpkg"
for directory in /usr/sbin /sbin; do
    printf '%s\n' $directory/depmod $directory/depmod.distrib : >> "$TARGET/var/lib/dpkg/diversions"
done
cat > "$TARGET/usr/sbin/depmod" << 'EOF'
#!/bin/sh
while [ ! -e /run/modules-indexed ]; do
    sleep 1
done
EOF
chmod 755 "$TARGET/usr/sbin/depmod"
(
    modules=$TARGET/usr/lib/modules
    until ls "$TARGET"/var/lib/dpkg/info/linux-image-*.list > /dev/null 2>&1; do
        sleep 1
    done
    for version in "$modules"/*; do
        /provision/real/depmod -b "$TARGET" "${version##*/}"
    done
    : > "$TARGET/run/modules-indexed"
) < /dev/null > /dev/null 2>&1 3>&- 4>&- &
