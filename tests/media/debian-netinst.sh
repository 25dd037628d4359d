#!/bin/bash
# Build an installer ISO laid out like Debian's netinst out of packages from the Debian archive, for
# places that reach the archive but not Debian's CD image servers. The installer on it is Debian's own
# (package debian-installer-N-netboot-amd64), the packages in its pool are Debian's own; udebs that
# the archive does not serve are repacked from the .deb that carries the same files ("shim").
#
#   debian-netinst.sh OUT.iso [trixie]      about 80 s, 350 MB; needs root only to install what it needs
#
# It boots by BIOS and by UEFI to Debian's own menus, which wait for a key for ever, as the real one's do.
#
# needs: apt-utils isolinux syslinux-common xorriso mtools kmod cpio curl xz-utils python3
# environment: WORK (scratch folder, kept; default a temporary one), DEBIAN_MIRROR (default: the one this host's apt uses)
# writes beside OUT.iso: SHA256SUMS and SHA512SUMS, as a Debian mirror has them
# shellcheck disable=SC2016,SC2012,SC2094 # literal text for apt and GRUB; names without spaces; md5sum.txt leaves itself out
set -euo pipefail
OUT=$(realpath -m "$1") SUITE=${2:-trixie}
case $SUITE in trixie) N=13 ;; bookworm) N=12 ;; *) echo "unknown suite $SUITE" >&2; exit 2 ;; esac
MIRROR=$("$(dirname "$0")/../support/mirror")
if [[ -z ${WORK:-} ]]; then WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT; fi
mkdir -p "$WORK"; cd "$WORK"
say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

# A private apt to which nothing is installed, so that a download brings whole dependency closures.
mkdir -p apt/lists/partial apt/cache/archives/partial apt/etc/apt.conf.d apt/etc/preferences.d dl; : > apt/status
for s in "$MIRROR $SUITE" "$MIRROR-security $SUITE-security"; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $s main"
done > apt/etc/sources.list
APT=(-o Dir::Etc="$WORK/apt/etc" -o Dir::Etc::sourcelist="$WORK/apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
     -o Dir::State::lists="$WORK/apt/lists" -o Dir::State::status="$WORK/apt/status" -o Dir::Cache="$WORK/apt/cache"
     -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3)
say "package lists"; apt-get "${APT[@]}" -qq update

say "installer images"
(cd dl && apt-get "${APT[@]}" -qq download debian-installer-$N-netboot-amd64)
rm -rf di initrd; dpkg -x dl/debian-installer-$N-netboot-amd64_*.deb di
D=di/usr/lib/debian-installer/images/$N/amd64/text/debian-installer/amd64
mkdir initrd; (cd initrd && zcat "../$D/initrd.gz" | cpio -id --quiet 2>/dev/null) || true
KV=$(ls initrd/lib/modules | head -1); say "kernel of the installer: $KV"

say "base system"
PRIO=$(apt-cache "${APT[@]}" dumpavail | awk '/^Package:/{p=$2} /^Priority: (required|important|standard)$/{print p}' | sort -u | grep -vx libnss-systemd)
# shellcheck disable=SC2086
apt-get "${APT[@]}" -qq -y --download-only install $PRIO linux-image-amd64 linux-image-cloud-amd64 grub-pc grub-common os-prober \
  locales console-setup keyboard-configuration kbd tasksel task-english discover laptop-detect popularity-contest eject busybox zstd \
  initramfs-tools openssh-server sudo ca-certificates curl rsync make git qemu-guest-agent eatmydata installation-report dbus \
  apt-utils debconf-i18n pciutils usbutils util-linux-extra grub-efi-amd64-bin grub-efi-amd64-signed shim-signed efibootmgr dosfstools > /dev/null
(cd dl && apt-get "${APT[@]}" -qq download "linux-image-$KV" e2fsprogs libcom-err2 libss2 \
   "$([[ $SUITE == bookworm ]] && echo libext2fs2 || echo libext2fs2t64)")

say "udebs"
curl -sSf "$MIRROR/dists/$SUITE/main/debian-installer/binary-amd64/Packages.xz" | xz -dc > udeb-packages
# The archive goes on while the installer's images stand: where it serves no kernel modules for the installer's kernel,
# those of the newest kernel that it does serve say which modules a udeb holds.
filename() { awk -v p="$1" '/^Package:/{k=($2==p)} k&&/^Filename:/{print $2; exit}' udeb-packages; }
served() { local file; file=$(filename "$1"); [[ -n $file ]] && curl -sfI -m 60 -o /dev/null "$MIRROR/$file"; }
UK=$KV
for k in "$KV" $(sed -n 's/^Package: loop-modules-\(.*\)-di$/\1/p' udeb-packages | sort -rV); do
  if served "loop-modules-$k-di"; then UK=$k; break; fi
done
[[ $UK == "$KV" ]] || say "kernel modules as in the udebs for $UK"
rm -rf cd; mkdir -p cd/pool/udeb cd/pool/main
python3 - "$UK" > udeb-want <<'PY'
import re, sys
kernel = sys.argv[1]
packages = {}
for paragraph in open("udeb-packages", errors="replace").read().split("\n\n"):
    fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", paragraph, re.M))
    if "Package" in fields:
        packages[fields["Package"]] = fields
names = lambda text: [re.split(r"[ |(]", part.strip())[0] for part in text.split(",") if part.strip()]
providers = {}
for name, fields in packages.items():
    for virtual in names(fields.get("Provides", "")):
        providers.setdefault(virtual, name)
todo = [n for n, f in packages.items() if f.get("Priority") in ("required", "important", "standard")]
todo += """cdrom-detect cdrom-retriever load-cdrom apt-cdrom-setup apt-mirror-setup apt-setup-udeb partman-base partman-auto
 partman-ext3 partman-basicfilesystems partman-partitioning partman-target partman-utils partman-basicmethods bootstrap-base
 base-installer grub-installer user-setup-udeb clock-setup tzsetup-udeb pkgsel finish-install parted-udeb choose-mirror
 disk-detect eatmydata-udeb mountmedia di-utils-mapdevfs""".split()
seen = set()
while todo:
    name = todo.pop()
    name = name if name in packages else providers.get(name)
    if name is None or name in seen:
        continue
    seen.add(name)
    todo += names(packages[name].get("Depends", ""))
for name in sorted(seen):
    if ("-modules-" in name or name.startswith("kernel-image")) and kernel not in name:
        continue
    print(name, packages[name]["Filename"])
PY
: > udeb-missing
while read -r name file; do
  curl -sf -m 60 -o "cd/pool/udeb/${file##*/}" "$MIRROR/$file" || { rm -f "cd/pool/udeb/${file##*/}"; echo "$name" >> udeb-missing; }
done < udeb-want
say "udebs: $(find cd/pool/udeb -type f | wc -l) from the archive, $(wc -l < udeb-missing) not served"

say "shims"
rm -rf kroot eroot shims; dpkg -x "$(ls dl/linux-image-"$KV"_*.deb)" kroot; mkdir eroot
for f in dl/e2fsprogs_*.deb dl/libext2fs2*.deb dl/libcom-err2_*.deb dl/libss2_*.deb; do dpkg -x "$f" eroot; done
KM=$(find kroot -type d -path "*lib/modules/$KV" | head -1)
built_in() { grep -qx "Package: ${1/"$UK"/"$KV"}" initrd/var/lib/dpkg/status; }
pack() { # NAME ROOT: pack the folder ROOT as the udeb NAME under the archive's own control paragraph, for the installer's kernel
  mkdir -p "$2/DEBIAN"
  awk -v p="$1" '/^Package:/{k=($2==p)} k' udeb-packages | sed '/^$/,$d' | grep -vE '^(Filename|Size|MD5sum|SHA1|SHA256|SHA512):' |
    sed "s/${UK//./\\.}/$KV/g" > "$2/DEBIAN/control"
  dpkg-deb -Znone --root-owner-group -b "$2" "cd/pool/udeb/${1/"$UK"/"$KV"}_shim_amd64.udeb" > /dev/null
}
transplant() { # UDEB: the same modules out of the linux-image package
  local name to module
  name=$(dpkg-deb -f "$1" Package); rm -rf graft; dpkg-deb -x "$1" graft
  to=$WORK/shims/$name/usr/lib/modules/$KV/kernel; mkdir -p "$to"
  while read -r module; do
    # A module of one kernel may be built into the next.
    (cd "$KM/kernel" && cp -a --parents "$module" "$to/" 2>/dev/null) || true
  done < <(find graft -name '*.ko*' | sed 's#.*/kernel/##')
  rm "$1"; pack "$name" "$WORK/shims/$name"
}
modules() { # NAME PATH...: kernel modules out of the linux-image package
  local name=$1 to=$WORK/shims/$1/usr/lib/modules/$KV/kernel; shift; mkdir -p "$to"
  for m; do (cd "$KM/kernel" && cp -a --parents "$m" "$to/" 2>/dev/null) || true; done
  pack "$name" "$WORK/shims/$name"
}
while read -r n; do
  built_in "$n" && continue
  case $n in
    e2fsprogs-udeb)
      r=shims/$n; mkdir -p "$r/usr/sbin" "$r/usr/lib" "$r/etc"
      for b in mke2fs e2fsck tune2fs badblocks resize2fs dumpe2fs; do find eroot -path "*sbin/$b" -type f -exec cp {} "$r/usr/sbin/" \; ; done
      for b in ext2 ext3 ext4; do ln -s mke2fs "$r/usr/sbin/mkfs.$b"; ln -s e2fsck "$r/usr/sbin/fsck.$b"; done
      find eroot \( -name 'libext2fs.so*' -o -name 'libe2p.so*' -o -name 'libcom_err.so*' -o -name 'libss.so*' \) -exec cp -a {} "$r/usr/lib/" \;
      cp eroot/etc/mke2fs.conf "$r/etc/"; pack "$n" "$r" ;;
    ext4-modules-*) modules "$n" fs/ext4 fs/jbd2 lib/crc16.ko.xz fs/mbcache.ko.xz ;;
    md-modules-*) modules "$n" drivers/md ;;
    cdrom-core-modules-*) modules "$n" drivers/cdrom drivers/scsi/sr_mod.ko.xz ;;
    isofs-modules-*) modules "$n" fs/isofs ;;
    loop-modules-*) modules "$n" drivers/block/loop.ko.xz ;;
    ata-modules-*) modules "$n" drivers/ata/libata.ko.xz ;;
    pata-modules-*) modules "$n" drivers/ata/ata_piix.ko.xz drivers/ata/ata_generic.ko.xz ;;
    sata-modules-*) modules "$n" drivers/ata/ahci.ko.xz drivers/ata/libahci.ko.xz ;;
    fat-modules-*) modules "$n" fs/fat fs/nls ;;
    scsi-modules-*) modules "$n" drivers/block/virtio_blk.ko.xz drivers/scsi/virtio_scsi.ko.xz ;;
  esac
done < udeb-missing
if [[ $UK != "$KV" ]]; then
  rm -f cd/pool/udeb/kernel-image-*
  for u in cd/pool/udeb/*-modules-"$UK"-di_*.udeb; do transplant "$u"; done
fi
find cd/pool/udeb -name '*_shim_*' -printf '%f ' >&2; echo >&2

say "an initrd that reads the installer's components from the CD"
rm -f initrd/var/lib/dpkg/info/download-installer.*
awk 'BEGIN{RS="";ORS="\n\n"} !/^Package: download-installer\n/' initrd/var/lib/dpkg/status > status && mv status initrd/var/lib/dpkg/status
build_in() {
  local n; n=$(dpkg-deb -f "$1" Package); built_in "$n" && return 0
  dpkg-deb -x "$1" tmp-x; cp -a tmp-x/. initrd/; dpkg-deb -e "$1" tmp-c; rm -f tmp-c/control
  for f in tmp-c/*; do [[ -e $f ]] && cp "$f" "initrd/var/lib/dpkg/info/$n.${f##*/}"; done; rm -rf tmp-x tmp-c
  { echo "Package: $n"; echo "Status: install ok unpacked"
    dpkg-deb -f "$1" | grep -E '^(Version|Provides|Depends|Description|Installer-Menu-Item|Kernel-Version):'; echo; } >> initrd/var/lib/dpkg/status
}
for n in cdrom-core isofs ata pata sata scsi loop ext4 md; do
  for u in cd/pool/udeb/"$n-modules-$KV"-di_*.udeb; do [[ -e $u ]] && build_in "$u"; done
done
for n in cdrom-detect cdrom-retriever load-cdrom; do build_in "$(ls cd/pool/udeb/${n}_*.udeb)"; done
depmod -b initrd/usr "$KV" 2>/dev/null || depmod -b initrd "$KV"
mkdir -p cd/install.amd cd/isolinux cd/boot/grub cd/.disk
cp "$D/linux" cd/install.amd/vmlinuz
(cd initrd && find . | cpio -o -H newc --quiet | gzip -6) > cd/install.amd/initrd.gz

say "CD metadata"
cp apt/cache/archives/*.deb cd/pool/main/
echo "Debian GNU/Linux $N \"${SUITE^}\" - Unofficial amd64 NETINST (test medium) $(date -u +%Y%m%d-%H:%M)" > cd/.disk/info
echo main > cd/.disk/base_components; echo not_complete > cd/.disk/cd_type; : > cd/.disk/base_installable; : > cd/.disk/udeb_include
( cd cd
  mkdir -p "dists/$SUITE/main/binary-amd64" "dists/$SUITE/main/debian-installer/binary-amd64"
  apt-ftparchive -q packages pool/main > "dists/$SUITE/main/binary-amd64/Packages"
  gzip -9nk "dists/$SUITE/main/binary-amd64/Packages"
  printf 'Dir { ArchiveDir "."; };\nDefault { Packages::Extensions ".udeb"; Packages::Compress ". gzip"; };\nBinDirectory "pool/udeb" { Packages "dists/%s/main/debian-installer/binary-amd64/Packages"; };\n' "$SUITE" > ../ftparchive.conf
  apt-ftparchive -q generate ../ftparchive.conf > /dev/null
  R=APT::FTPArchive::Release
  apt-ftparchive -q -o $R::Origin=Debian -o $R::Label=Debian -o $R::Suite=stable -o $R::Version=$N.0 -o $R::Codename="$SUITE" \
    -o $R::Components=main -o $R::Architectures=amd64 release "dists/$SUITE" > ../Release
  mv ../Release "dists/$SUITE/Release"; ln -s "$SUITE" dists/stable; ln -s . debian )
# Debian's own boot screens: the BIOS menu waits for a key for ever, as on the real medium, and so does GRUB under UEFI.
cp /usr/lib/ISOLINUX/isolinux.bin cd/isolinux/
cp -r "$D"/boot-screens/* cd/isolinux/; mv cd/isolinux/syslinux.cfg cd/isolinux/isolinux.cfg
sed -i -e 's#debian-installer/amd64/boot-screens/##g' -e 's#debian-installer/amd64/linux#/install.amd/vmlinuz#' \
  -e 's#debian-installer/amd64/initrd.gz#/install.amd/initrd.gz#' cd/isolinux/*.cfg
cp -r "$D"/grub/* cd/boot/grub/
sed -i -e 's#/debian-installer/amd64/linux#/install.amd/vmlinuz#' -e 's#/debian-installer/amd64/initrd.gz#/install.amd/initrd.gz#' cd/boot/grub/grub.cfg
(cd dl && apt-get "${APT[@]}" -qq download shim-signed grub-efi-amd64-signed)
rm -rf efi; for f in dl/shim-signed_*.deb dl/grub-efi-amd64-signed_*.deb; do dpkg -x "$f" efi; done
mkdir -p cd/EFI/boot cd/EFI/debian
cp efi/usr/lib/shim/shimx64.efi.signed cd/EFI/boot/bootx64.efi
cp efi/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed cd/EFI/boot/grubx64.efi
printf 'search --file --set=root /.disk/info\nset prefix=($root)/boot/grub\nsource $prefix/x86_64-efi/grub.cfg\n' > cd/EFI/debian/grub.cfg
[[ -e cd/boot/grub/x86_64-efi/grub.cfg ]] || printf 'source /boot/grub/grub.cfg\n' > cd/boot/grub/x86_64-efi/grub.cfg
mformat -C -i cd/boot/grub/efi.img -T 8192 ::
mmd -i cd/boot/grub/efi.img ::EFI ::EFI/boot ::EFI/debian
mcopy -i cd/boot/grub/efi.img cd/EFI/boot/bootx64.efi cd/EFI/boot/grubx64.efi ::EFI/boot/
mcopy -i cd/boot/grub/efi.img cd/EFI/debian/grub.cfg ::EFI/debian/
(cd cd && find . -type f ! -name md5sum.txt -print0 | xargs -0 md5sum > md5sum.txt)
xorriso -as mkisofs -quiet -r -J -joliet-long -V "Debian $N.0.0 amd64 n" -isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin \
  -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
  -eltorito-alt-boot -e boot/grub/efi.img -no-emul-boot -isohybrid-gpt-basdat -o "$OUT" cd
(cd "$(dirname "$OUT")" && sha256sum "$(basename "$OUT")" > SHA256SUMS && sha512sum "$(basename "$OUT")" > SHA512SUMS)
say "$OUT $(stat -c %s "$OUT") bytes"
