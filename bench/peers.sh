#!/bin/sh
# Make a Debian 13 tree with QEMU 10 in it and show the assets there, as root:
#   peers.sh OUT ASSETS     then:  export Q10="chroot OUT" and run.py ... -A ASSETS
# ASSETS is bound inside at its own path. Undo: umount OUT/ASSETS.
set -eu
out=$1
mkdir -p "$2"
assets=$(cd "$2" && pwd)
: "${SUITE:=trixie}"
: "${MIRROR:=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)}"
: "${KEYRING:=/usr/share/keyrings/debian-archive-keyring.gpg}"
[ -x "$out/usr/bin/qemu-system-riscv64" ] ||
    mmdebstrap --quiet --variant=apt \
        --include=qemu-system-misc,qemu-system-riscv,qemu-system-arm,qemu-system-x86,qemu-user,opensbi \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Languages "none"' \
        "$SUITE" "$out" "deb [signed-by=$KEYRING] $MIRROR $SUITE main"
mkdir -p "$out$assets"
mountpoint -q "$out$assets" || mount --bind "$assets" "$out$assets"
chroot "$out" qemu-system-riscv64 --version | head -n 1
