#!/bin/sh
# Make the guest assets of one architecture, as root:
#   assets.sh ARCH OUT      ARCH: amd64 | arm64 | riscv64
# Needs mmdebstrap, cpio and what build.sh needs (the cross compilers).
#   SUITE    default trixie
#   MIRROR   default: the one this machine's apt uses
# Leaves in OUT/ARCH:
#   kernel     the distribution's kernel image (Image or bzImage)
#   mini/      /init and xb;      mini.cpio its initramfs
# No foreign code runs here.
set -eu
arch=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
: "${SUITE:=trixie}"
: "${MIRROR:=$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)}"
: "${KEYRING:=/usr/share/keyrings/debian-archive-keyring.gpg}"
mkdir -p "$out/$arch"
out=$(cd "$out/$arch" && pwd)

if [ ! -e "$out/kernel" ]; then
    tmp=$(mktemp -d)
    mmdebstrap --quiet --variant=extract --architectures="$arch" \
        --include="linux-image-$arch" \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Languages "none"' \
        "$SUITE" "$tmp/k" "deb [signed-by=$KEYRING] $MIRROR $SUITE main"
    cp "$tmp"/k/boot/vmlinu?-* "$out/kernel"
    rm -rf "$tmp"
fi
sh "$here/build.sh" "$arch" "$out"
d=$out/mini
mkdir -p "$d/dev" "$d/proc" "$d/sys" "$d/tmp"
cp "$out/xb" "$d/xb"
ln -sf xb "$d/init"
(cd "$d" && find . -print0 | LC_ALL=C sort -z |
    cpio --null --quiet -R 0:0 -o -H newc) >"$out/mini.cpio"
ls -l "$out/mini.cpio" "$out/kernel"
