#!/bin/sh
# preseed/early_command: runs in the installer's own initrd, before it looks for its medium.
set -eu

# The host reads the installer's log from the second serial port while it is written.
if [ -c /dev/ttyS1 ]; then
    tail -n +1 -f /var/log/syslog < /dev/null > /dev/ttyS1 2> /dev/null 3>&- &
fi

# The installer indexes all kernel modules again at each of its steps; once per change is enough.
mkdir -p /provision/real
ln -sf "$(readlink -f /sbin/depmod)" /provision/real/depmod
rm -f /sbin/depmod
cp /provision/depmod.sh /sbin/depmod
chmod 755 /sbin/depmod

# The components on the medium arrive with load-cdrom; sort out the unneeded ones right after it.
echo 'sh /provision/steps.sh' >> /var/lib/dpkg/info/load-cdrom.postinst
