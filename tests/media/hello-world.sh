#!/usr/bin/env bash
# Adds to the registry's content what Docker Hub has as hello-world: an image of a few bytes, for what is about the
# pulling of images and not about what is in them.
#
#   hello-world.sh DIR   DIR holds the content, as docker-hub-standin.sh fills it
#
# needs: docker-registry skopeo curl
set -euo pipefail
dir=$(realpath "$1")
# Another push would be another image to whoever has noted the first one's digest.
[[ ! -e $dir/registry/docker/registry/v2/repositories/library/hello-world ]] || exit 0
here=$(dirname "$(realpath "$0")")
scratch=$(mktemp -d)
trap 'kill "${server:-}" 2> /dev/null; rm -rf "$scratch"' EXIT
cd "$scratch"
echo "Hello from the tests." > hello
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf layer.tar hello
sum=$(sha256sum layer.tar | cut -d' ' -f1)
printf '{"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"]}, "rootfs": {"type": "layers", "diff_ids": ["sha256:%s"]}}' "$sum" > config.json
echo '[{"Config": "config.json", "RepoTags": ["hello-world:latest"], "Layers": ["layer.tar"]}]' > manifest.json
tar -cf image.tar manifest.json config.json layer.tar
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$here/docker-hub-standin.sh" serve "$dir" "$port" > log 2>&1 &
server=$!
curl --silent --fail --output /dev/null --retry 30 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$port/v2/"
skopeo copy --quiet --insecure-policy --dest-tls-verify=false docker-archive:image.tar \
    "docker://127.0.0.1:$port/library/hello-world:latest"
echo hello-world:latest
