#!/usr/bin/env bash
# What each thing that was taken out of the installation and of boots is worth: the installation and the first boot with
# everything left out, and then with one of them back in at a time. Prints the times and the differences.
#
#   benches/takeouts.sh ISO              all of them: six minutes each without KVM
#   benches/takeouts.sh ISO NAME...      only these, by their names in `put_back`
#
# Each is put back in a copy of this repository's last commit, which is built (without optimisation, which an installation
# does not need) and installs into an empty cache.
set -euo pipefail
iso=$(realpath "$1")
shift
cd "$(dirname "$0")/.."
repository=$PWD
work=$(mktemp -d "${TMPDIR:-/tmp}/provision-takeouts.XXXXXX")
finish() {
    git worktree remove --force "$work/copy" 2> /dev/null || true
    rm -rf "$work"
    git worktree prune
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

names=(components hardware queue target-depmod dpkg-runs initramfs translations small ramfb grub-wait processor threads
    documentation nothing)
# None of these costs anything by itself that shows: put back together, unless one is named.
small=(flushes force-unsafe-io hooks screen cache depmod)
# Puts one back in the copy.
put_back() {
    local installer=provision/debian/installer
    case $1 in
        # The other way round: documentation, man pages and translations, which are unpacked, are not.
        documentation)
            # shellcheck disable=SC2016 # the installer expands it
            sed -i '/^INITRD=No/i printf "path-exclude=/usr/share/%s/*\\n" doc info man locale > "$TARGET/etc/dpkg/dpkg.cfg.d/minimized"' \
                $installer/bootstrap.sh
            ;;
        # The guest's flushes reach the host's disk.
        flushes) sed -i 's/Durability::Scratch => "cache.direct=off,cache.no-flush=on"/Durability::Scratch => "cache.direct=off,cache.no-flush=off"/' src/machine/qemu/arguments.rs ;;
        # dpkg asks for each file to be on the disk.
        force-unsafe-io) sed -i '/echo force-unsafe-io/d' $installer/bootstrap.sh ;;
        # The kernel, and then each package, in a run of apt and dpkg of its own, as the installer does it. That makes an
        # initramfs right after the kernel, so the index of its modules cannot be made meanwhile: `target-depmod` is in it.
        dpkg-runs)
            put_back target-depmod
            sed -i -e 's/^d-i base-installer.includes/d-i pkgsel\/include/' -e '/^d-i base-installer.kernel/d' provision/debian/preseed.cfg.j2
            # shellcheck disable=SC2016 # the installer expands it
            sed -i 's/^say "locale and name"/for package in $(debconf-get pkgsel\/include); do\n    in_chroot env -u DEBIAN_HAS_FRONTEND -u DEBCONF_REDIR INITRD=No apt-get -q -y --no-install-recommends install "$package" > \/dev\/null\ndone\n&/' $installer/late.sh
            ;;
        # All of the installer's components, LVM and encryption included.
        components)
            sed -i '/^d-i anna/,/finish-install$/d' provision/debian/preseed.cfg.j2
            sed -i '/loaded-extra/d' $installer/steps.sh
            ;;
        # Looking for drivers though the disk is known.
        hardware) sed -i '/list-devices disk/d' $installer/steps.sh ;;
        # Packages that the installer's steps ask for, each in a run of apt.
        queue)
            sed -i '/pciutils|eject/d' $installer/bootstrap.sh
            sed -i -e '/^    "pciutils",$/d' -e '/^    "eject",$/d' -e 's/PACKAGES: \[&str; 15\]/PACKAGES: [\&str; 13]/' src/guest/debian.rs
            ;;
        # The kernel's modules are indexed before the next package is set up.
        target-depmod) sed -i 's/9>&- &$/9>\&-/' $installer/target-depmod.sh ;;
        # The installer's hooks: those of a laptop's hardware, of other storage, and of what late.sh does at once.
        hooks) sed -i -e '/^cd .usr.lib/,$d' $installer/steps.sh ;;
        # The installer's own modules are indexed at each of its steps.
        depmod) sed -i '/depmod/d' $installer/early.sh ;;
        # An initramfs whenever a package asks for one.
        initramfs) sed -i '/INITRD/d' $installer/bootstrap.sh ;;
        # The installer loads the translations of its questions.
        translations) sed -i 's/ DEBCONF_DROP_TRANSLATIONS=1//' src/guest/debian.rs ;;
        # A screen for machines that boot from their disk, and the wait of Debian's GRUB.
        ramfb) sed -i 's/^\( *\)args.option("-device", "vmgenid/\1args.option("-device", "ramfb");\n&/' src/machine/qemu/arguments.rs ;;
        grub-wait) sed -i 's/^GRUB_TIMEOUT=0$/GRUB_TIMEOUT=5/' $installer/late.sh ;;
        # A PCI screen for the installer.
        screen) sed -i 's/"isa-vga"/"VGA"/' src/machine/qemu/arguments.rs ;;
        # All that QEMU can emulate of a processor, vector instructions included.
        processor) sed -i 's/"qemu64"/"max"/' src/machine/accelerator.rs ;;
        # QEMU's own size for translated code, and one thread for all of a guest's processors.
        cache) sed -i 's/,tb-size=1024//' src/machine/accelerator.rs ;;
        threads) sed -i 's/thread=multi/thread=single/' src/machine/accelerator.rs ;;
        small) for part in "${small[@]}"; do put_back "$part"; done ;;
        # Again as it is: what the difference shows is the noise.
        nothing) echo >> README.md ;;
        *)
            echo "error: no such thing was taken out: $1" >&2
            echo "hint: they are ${names[*]} ${small[*]}" >&2
            exit 2
            ;;
    esac
}

# The seconds of install and of the first boot, of a run's events.
seconds() {
    python3 - "$1" << 'EOF'
import datetime, json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
time = lambda event: datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
install = next(event["seconds"] for event in events if event["event"] == "stage_done" and event["stage"] == "install")
steps = [event for event in events if event["event"] == "step" and event["stage"] == "docker"]
print(f"{install:.0f} {time(steps[1]) - time(steps[0]):.0f}")
EOF
}

# install NAME: builds what is in the copy, installs and boots; prints both times.
install() {
    export PROVISION_CACHE_DIR=$work/$1/cache PROVISION_DATA_DIR=$work/$1/data
    local events=$work/$1/events program pid
    mkdir -p "$work/$1/project"
    cp -a Makefile srcs "$work/$1/project/"
    printf 'login = "bench"\n[iso]\npath = "%s"\nsha512 = "%s"\n' "$iso" "$(sha512sum "$iso" | cut -d' ' -f1)" \
        > "$work/$1/project/provision.toml"
    (cd "$work/copy" && cargo build --locked --quiet)
    program=$(cd "$work/copy" && cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug/provision
    # An installer that asks a question waits for ever.
    (cd "$work/$1/project" && exec "$program" --json create --timeout 30m) > "$events" &
    pid=$!
    # This is a shell of its own, by which it is called.
    trap 'kill -INT "$pid" 2> /dev/null; wait "$pid"; exit 1' HUP INT TERM
    # The step after `booting`.
    until [[ $(grep -c '"event":"step","stage":"docker"' "$events") -ge 2 ]]; do
        kill -0 "$pid" 2> /dev/null || { echo "$1: $(tail -n 1 "$events")" >&2; return 1; }
        sleep 1
    done
    kill -INT "$pid"
    wait "$pid" || true
    seconds "$events"
    rm -rf "${work:?}/$1"
}

[[ $# -gt 0 ]] || set -- "${names[@]}"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
git worktree add --quiet --detach "$work/copy" HEAD
processor=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
printf '%s, %s CPUs (%s), %s, load %s\n\n' "$(date --utc +%F)" "$(nproc)" "${processor:-unknown}" \
    "$(qemu-system-x86_64 --version | head -n 1)" "$(cut -d' ' -f1 /proc/loadavg)"
read -r install boot <<< "$(install nothing)"
[[ -n $boot ]]
printf '| back in | install, seconds | more than %s | boot to SSH, seconds | more than %s |\n|---|---|---|---|---|\n' "$install" "$boot"
missing=0
for name; do
    git -C "$work/copy" checkout --quiet .
    (cd "$work/copy" && put_back "$name")
    if git -C "$work/copy" diff --quiet; then
        echo "error: $name is not where it was in the sources: benches/takeouts.sh needs a look" >&2
        exit 1
    fi
    with_boot=
    read -r with_install with_boot <<< "$(cd "$repository" && install "$name")" || true
    if [[ -z $with_boot ]]; then
        printf '| %s | did not get that far | | | |\n' "$name"
        missing=1
        continue
    fi
    printf '| %s | %s | %s | %s | %s |\n' "$name" "$with_install" $((with_install - install)) "$with_boot" $((with_boot - boot))
done
[[ $missing -eq 0 ]]
