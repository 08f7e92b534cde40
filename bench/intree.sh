#!/bin/sh
# intree.sh TREE CMD...: run a command inside a tree, as root, with its own
# /proc, /dev and /tmp, as /init has in a guest. For the native figures.
# With EMU=/path/of/a/static/qemu-user and MAGIC=riscv64|arm64 the tree may be
# foreign: the handler is registered in a user namespace of its own, so the
# machine's binfmt_misc stays as it is (Linux >= 6.7).
set -eu
if [ "${1:-}" != --inner ]; then
    if [ -n "${EMU:-}" ]; then
        exec unshare --map-root-user --mount --pid --fork \
            "$0" --inner "$@"
    fi
    exec unshare --mount --pid --fork "$0" --inner "$@"
fi
shift
tree=$(cd "$1" && pwd)
shift
mount --rbind /dev "$tree/dev"
mount -t proc proc "$tree/proc"
mount -t tmpfs tmpfs "$tree/tmp"
if [ -n "${EMU:-}" ]; then
    case $MAGIC in
    riscv64) m=f3 ;;
    arm64) m=b7 ;;
    esac
    b=$(mktemp -d)
    mount -t binfmt_misc binfmt_misc "$b"
    printf '%s' ":xb:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\x$m\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:$EMU:F" >"$b/register"
fi
cd /
exec chroot "$tree" "$@"
