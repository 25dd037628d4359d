#!/bin/bash
# Stand in for Docker Hub where it cannot be reached: a real registry (Debian's docker-registry) that
# serves debian:bookworm and debian:trixie, built from the Debian archive by mmdebstrap as Docker's own
# official images are built with debootstrap. A Docker engine uses it as a mirror of docker.io:
#   {"registry-mirrors": ["http://10.0.2.2:5000"], "insecure-registries": ["10.0.2.2:5000"]}
# (10.0.2.2 is the host as a QEMU user-network guest sees it; BuildKit needs the second entry too).
#
#   docker-hub-standin.sh fill DIR [suite...]   build and store the images under DIR, about 30 s each
#   docker-hub-standin.sh serve DIR [PORT]      serve DIR on 127.0.0.1:PORT (5000) in the foreground
#
# needs: docker-registry skopeo mmdebstrap debian-archive-keyring python3 (all Debian packages); root, or unprivileged
# user namespaces (with uidmap)
# environment: DEBIAN_MIRROR (default: the one this host's apt uses)
set -euo pipefail
command=$1 dir=$(realpath -m "$2"); shift 2
config() { printf 'version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: %s/registry}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$dir" "$1" > "$dir/registry.yml"; }
case $command in
  fill)
    mirror=$("$(dirname "$0")/../support/mirror")
    mkdir -p "$dir"; scratch=$(mktemp -d); trap 'kill "$server" 2>/dev/null; rm -rf "$scratch"' EXIT
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    config "$port"; docker-registry serve "$dir/registry.yml" > "$scratch/log" 2>&1 & server=$!
    for suite in "${@:-bookworm}"; do
      mmdebstrap --quiet --variant=minbase --include=ca-certificates --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        "$suite" "$scratch/$suite.tar" "$mirror"
      python3 - "$scratch/$suite.tar" "$scratch/oci-$suite" "$suite" <<'PY'
import gzip, hashlib, json, os, shutil, sys
tar, out, tag = sys.argv[1:]
blobs = os.path.join(out, "blobs", "sha256"); os.makedirs(blobs)
def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(blobs, digest), "wb") as f: f.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}
raw = open(tar, "rb").read()
layer = blob(gzip.compress(raw, 6, mtime=0)) | {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
config = blob(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["bash"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(raw).hexdigest()]}}).encode()) | {"mediaType": "application/vnd.oci.image.config.v1+json"}
manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": [layer]}).encode())
manifest |= {"mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": {"org.opencontainers.image.ref.name": tag}}
json.dump({"schemaVersion": 2, "manifests": [manifest]}, open(os.path.join(out, "index.json"), "w"))
json.dump({"imageLayoutVersion": "1.0.0"}, open(os.path.join(out, "oci-layout"), "w"))
PY
      skopeo copy --quiet --insecure-policy --dest-tls-verify=false "oci:$scratch/oci-$suite:$suite" "docker://127.0.0.1:$port/library/debian:$suite"
      echo "debian:$suite"
    done ;;
  serve) config "${1:-5000}"; exec docker-registry serve "$dir/registry.yml" ;;
  *) echo "usage: $0 fill|serve DIR ..." >&2; exit 2 ;;
esac
