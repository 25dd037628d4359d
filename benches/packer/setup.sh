#!/bin/sh
# What Packer's shell provisioner does: Docker, the user LOGIN, the project and its `make`, until the site answers.
#
#   LOGIN=jdoe MIRROR=http://10.0.2.2:5000 setup.sh     as root, with the project in /root/project.tar
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

if [ -n "$MIRROR" ]; then
    mkdir -p /etc/docker
    printf '{ "registry-mirrors": ["%s"], "insecure-registries": ["%s"] }\n' "$MIRROR" "${MIRROR#*://}" > /etc/docker/daemon.json
fi
apt-get -q update
apt-get -q install -y --no-install-recommends ca-certificates curl git iptables make openssh-client rsync \
    docker.io docker-cli docker-buildx docker-compose

useradd --create-home --user-group --shell /bin/bash --groups docker,sudo "$LOGIN"
echo "$LOGIN ALL=(ALL:ALL) NOPASSWD: ALL" > "/etc/sudoers.d/$LOGIN"
install -d -o "$LOGIN" -g "$LOGIN" "/home/$LOGIN/data" "/home/$LOGIN/inception"
printf '127.0.0.1\t%s\n' "$LOGIN.42.fr" >> /etc/hosts
tar -x -f /root/project.tar -C "/home/$LOGIN/inception"
chown -R "$LOGIN:$LOGIN" "/home/$LOGIN"
su - "$LOGIN" -c 'make -C inception'

left=600
until curl --silent --fail --insecure --location --output /dev/null "https://$LOGIN.42.fr/"; do
    left=$((left - 1))
    [ "$left" -gt 0 ]
    sleep 1
done
echo 'the site answers'
