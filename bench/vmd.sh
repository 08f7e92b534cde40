#!/bin/sh
# One VM under a daemon of its own, its console on standard output: what run.py measures as vmd.
#   vmd.sh OPTION...      options of `vmctl run`
# The daemon and with it the VM's process are children of this one, so that their CPU time counts,
# and both end with it; nothing of the user's own daemon is touched.
#   VMD_BUILD   the build folder, default ../build
#   VMD_READY   a file that gets the daemon's socket once it answers
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${VMD_BUILD:=$here/../build}"
build=$(cd "$VMD_BUILD" && pwd)
d=$(mktemp -d /tmp/vmd-bench.XXXXXX)
daemon=
end() {
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" || true
    rm -rf "$d"
}
trap end EXIT
trap 'exit 1' INT TERM HUP
export VMD_SOCKET="$d/run/vmd.sock"
"$build/daemon/vmd" --user --store "$d/store" --runtime "$d/run" 2>"$d/log" &
daemon=$!
until "$build/vmctl/vmctl" list >/dev/null 2>&1; do
    kill -0 "$daemon" 2>/dev/null || { cat "$d/log"; exit 1; }
    sleep 0.02
done
[ -z "${VMD_READY:-}" ] || echo "$VMD_SOCKET" >"$VMD_READY"
"$build/vmctl/vmctl" run --arch riscv64 --accel xlate --net none --ephemeral --console "$@"
