# shellcheck shell=sh
# base-installer/debootstrap_script: the distribution's own script, with the target prepared so that
# dpkg does nothing twice. Sourced by debootstrap, which sets TARGET, SUITE and DEBOOTSTRAP_DIR.

# The disk of an interrupted installation is thrown away, so nothing needs to be forced onto it.
mkdir -p "$TARGET/etc/dpkg/dpkg.cfg.d"
echo force-unsafe-io > "$TARGET/etc/dpkg/dpkg.cfg.d/force-unsafe-io"

# late.sh builds the initramfs once, when everything it is made of is there.
INITRD=No
export INITRD

# What the steps before this one want is in the list of packages; else each would be a run of apt afterwards.
queue=/var/lib/apt-install/queue
[ ! -e $queue ] || sed -i -E '/^(udev|pciutils|eject)$/d' $queue

# The file of kmod's package goes beside the script that stands for it (dpkg-divert(1)). kmod asks for its own name.
mkdir -p "$TARGET/var/lib/dpkg" "$TARGET/var/lib/provision-installer" "$TARGET/usr/sbin"
printf '%s\n' /usr/sbin/depmod /usr/sbin/depmod.distrib : > "$TARGET/var/lib/dpkg/diversions"
ln -s /usr/bin/kmod "$TARGET/var/lib/provision-installer/depmod"
cp /provision/target-depmod.sh "$TARGET/usr/sbin/depmod"
chmod 755 "$TARGET/usr/sbin/depmod"

# shellcheck source=/dev/null
. "$DEBOOTSTRAP_DIR/scripts/$SUITE"
