#!/usr/bin/env bash
# What needs a running VirtualBox, for a person with one: the whole way from Debian's own ISO to the site, and what a
# machine's life brings. It needs VirtualBox with its kernel driver, Rust, the Internet, 15 GB of disk and, on a laptop,
# about half an hour. Everything it makes lies in a folder of its own, which it removes.
#
#   tests/virtualbox-live.sh
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
export PROVISION_CACHE_DIR=$folder/cache PROVISION_DATA_DIR=$folder/data PROVISION_MACHINE=virtualbox
vms_before=$(VBoxManage list vms | sort)
disks_before=$(VBoxManage list hdds | sort)

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
provision() { cargo run --quiet --release -- "$@"; }
seconds() { # COMMAND...: how long it takes, in whole seconds
    local start=$SECONDS
    "$@"
    took=$((SECONDS - start))
}
clean() {
    for name in live second third fourth; do provision destroy --yes --name "$name" > /dev/null 2>&1 || true; done
    provision cache prune > /dev/null 2>&1 || true
    rm -rf "$folder"
}
trap clean EXIT

say "this host"
provision doctor || true
VBoxManage --version

say "create: from the ISO to the site"
seconds provision create --login live --name live
echo "took $took s"

say "nothing has changed: a second create runs no stage"
seconds provision create --login live --name live
echo "took $took s"
((took <= 20)) || fail "it took $took s"

say "the services run in the guest"
running=$(provision exec --name live -- docker ps --quiet | wc -l)
((running >= 3)) || fail "$running containers run"

say "stop, start, and the data is still there"
provision exec --name live -- touch data/kept
provision stop --name live
provision start --name live
provision exec --name live -- test -e data/kept
provision exec --name live -- sudo journalctl --boot=-1 --no-pager | grep -q 'Power key pressed' ||
    fail "the guest did not hear the power button: its power was cut"

say "what is removed in the guest takes no room on this host"
size() { du -sk "$PROVISION_DATA_DIR/machines/live" | cut -f1; }
provision exec --name live -- sudo sh -c 'head -c 500M /dev/urandom > /root/noise; sync'
full=$(size)
provision exec --name live -- sudo sh -c 'rm /root/noise; sync; fstrim /'
empty=$(size)
((empty < full - 400000)) || fail "$full KiB became $empty KiB"

say "back to how create left it, and to a snapshot, both from memory"
seconds provision reset --name live
echo "took $took s"
provision exec --name live -- test ! -e data/kept || fail "what was done since is still there"
provision exec --name live -- touch data/kept
provision snapshot before --name live
provision exec --name live -- rm data/kept
seconds provision restore before --name live
echo "took $took s"
provision exec --name live -- test -e data/kept
skew=$(($(provision exec --name live -- date +%s) - $(date +%s)))
((skew >= -5 && skew <= 5)) || fail "the guest's clock is $skew s off"
provision snapshot rm before --name live

say "a second machine shares the checkpoints of the first up to docker"
shared=$(provision plan --login second --name second | grep -cE '^(install|docker) .*cached' || true)
[[ $shared == 2 ]] || fail "they are not shared"
seconds provision create --login second --name second
echo "took $took s"

say "rebuild makes it clean, also without a network, for another login too"
provision exec --name second -- touch data/dirty
seconds provision rebuild --name second
echo "took $took s"
provision exec --name second -- test ! -e data/dirty || fail "it is not clean"
seconds provision rebuild --from account --offline --login fourth --name fourth
echo "took $took s"
[[ $(provision exec --name fourth -- id -un) == fourth ]] || fail "it is somebody else's"
provision destroy --yes --name fourth

say "ports lead from 127.0.0.1 only"
if command -v ss > /dev/null; then
    ss -Hltnp | grep VBoxHeadless | awk '{print $4}' | grep -v '^127\.0\.0\.1:' && fail "a port is open to others"
fi

say "an image for others"
provision stop --name second
provision export --name second --format ova --output "$folder/second.ova"
VBoxManage import "$folder/second.ova" --dry-run

say "a sealed image becomes a machine that takes this host's keys"
provision export --name second --format ova --seal --output "$folder/sealed.ova" < /dev/null
provision import "$folder/sealed.ova" --name third
provision start --name third
provision exec --name third -- true
[[ ! -e $folder/data/machines/third/virtualbox/keys.iso ]] || fail "the keys are still there"
provision stop --name third
provision destroy --yes --name third

say "destroy and prune leave nothing"
provision destroy --yes --name live
provision destroy --yes --name second
provision cache prune
[[ $(VBoxManage list vms | sort) == "$vms_before" ]] || fail "machines are left: $(VBoxManage list vms)"
[[ $(VBoxManage list hdds | sort) == "$disks_before" ]] || fail "disks are left: $(VBoxManage list hdds)"

say "all of it works; please send this output"
