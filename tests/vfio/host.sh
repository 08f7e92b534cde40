# The host's part, with QEMU's devices for the host's own: a line "vfio: ok NAME" or "vfio: FAILED NAME" a case.
export HOME=/root XDG_RUNTIME_DIR=/run/user/0 PATH=/usr/bin:/bin
mkdir -p /run/user/0 /etc/vmd
chmod 700 /run/user/0
ifconfig lo up

ok() { echo "vfio: ok $*"; }
failed() {
    echo "vfio: FAILED $*"
    for log in $HOME/.local/share/vmd/*.log $HOME/.local/state/vmd/*.log $HOME/.local/share/vmd/vms/*/process.log /tmp/helper.log; do
        [ -f "$log" ] && sed "s|^|$log: |" "$log" | tail -n 20
    done
    dmesg | tail -n 10
    echo "vfio: end"
    poweroff -f
}
# function ID [PATTERN]: the address of the device with ID.
function_of() {
    for folder in /sys/bus/pci/devices/$2*; do
        [ "$(cat "$folder/vendor"):$(cat "$folder/device")" = "$1" ] && echo "${folder##*/}" && return
    done
}
driver_of() { [ -e "/sys/bus/pci/devices/$1/driver" ] && basename "$(readlink "/sys/bus/pci/devices/$1/driver")"; }
# await NAME COMMAND...: until the command succeeds; a test that hangs is ended from outside.
await() {
    name=$1
    shift
    n=0
    until "$@"; do
        n=$((n + 1))
        [ $n -lt 1200 ] || failed "$name: waited in vain for $*"
        sleep 0.5
    done
}
start_helper() {
    echo "0 pci:0000:0*" >/etc/vmd/helper.rules
    vmd-helper 2>/tmp/helper.log &
    await helper [ -S /run/vmd-helper.sock ]
}
has_driver() { [ "$(driver_of "$1")" = "$2" ]; }
said() { grep -q "$1" /tmp/stock; }
# refused NAME TEXT ADDRESS: such a guest does not start, for the reason TEXT.
refused() {
    if vmctl run --arch riscv64 --kernel /guest/edu --net none --host-device "$3" >/tmp/refused 2>&1 </dev/null; then
        failed "$1: it started"
    fi
    grep -q "$2" /tmp/refused || { cat /tmp/refused; failed "$1"; }
    ok "$1: $(head -n 1 /tmp/refused)"
}

plain=$(function_of 0x1234:0x11e8 0000:00)
for edu in $(for f in /sys/bus/pci/devices/*; do [ "$(cat $f/device)" = 0x11e8 ] && echo ${f##*/}; done); do
    [ "$edu" = "$plain" ] || break
done
nic=$(function_of 0x8086:0x10d3)
nvme=$(function_of 0x1b36:0x0010)
sata=$(function_of 0x8086:0x2922 0000:0[1-9])
echo "edu $edu, edu without a reset $plain, e1000e $nic, NVMe $nvme, SATA $sata"

# A bare guest, and what is refused.
part_edu() {
    refused no-helper "needs vmd-helper" "$edu"
    start_helper
    refused no-reset "cannot be reset" "$plain"
    await no-reset-restored has_driver "$plain" ""
    refused no-function "no .*pci:0000:7f:00.0\|0000:7f:00.0" 0000:7f:00.0

    vmctl run --arch riscv64 --kernel /guest/edu --net none --memory 64M --host-device "$edu" >/tmp/edu 2>&1 </dev/null
    status=$?
    cat /tmp/edu
    [ $status = 0 ] && grep -q "edu: registers, DMA both ways and its line" /tmp/edu || failed "edu: status $status"
    await edu-restored has_driver "$edu" ""
    ok edu
}

# A stock kernel.
part_stock() {
    start_helper
    vmctl run --name stock --arch aarch64 --memory 256M --kernel /guest/linux --initrd /guest/initrd \
        --append "console=ttyAMA0 loglevel=4 nowatchdog rcupdate.rcu_cpu_stall_suppress=1 panic=-1" --net none --host-device "$nvme" >/tmp/stock 2>&1 </dev/null &
    tail -f /tmp/stock &
    await begun has_driver "$nvme" vfio-pci
    await nvme said "guest: ready"
    said "guest: interrupts nvme [1-9]" || failed "nvme: no messages"
    ok nvme
    refused busy "busy\|holds\|held" "$nvme"

    vmctl device add stock --host-device "$nic" --id nic --timeout 300 || failed "plug"
    await fetched said "guest: fetched msix"
    said "guest: interrupts msix [1-9]" || failed "e1000e: no MSI-X"
    ok e1000e-msix
    vmctl device remove stock nic --timeout 300 || failed "unplug"
    await gone said "guest: gone"
    await restored has_driver "$nic" e1000e
    ok unplug
    await again said "guest: again"
    vmctl device add stock --host-device "$nic" --id nic --timeout 300 || failed "plug again"
    await intx said "guest: transferred"
    said "guest: interrupts intx [1-9]" || failed "e1000e: no INTx"
    ok e1000e-intx

    # The host wants it back: the write returns when nobody has the function any more.
    echo "$nic" >"/sys/bus/pci/devices/$nic/driver/unbind" || failed "unbind"
    vmctl device list stock >/tmp/devices
    ! grep -q "^nic " /tmp/devices || failed "asked for, and still there"
    await unbound-restored has_driver "$nic" e1000e
    await gone-again said "guest: gone again"
    ok asked-back

    vmctl device add stock --host-device "$sata" --id sata --timeout 300 || failed "plug the SATA controller"
    await done said "guest: done"
    said "guest: interrupts msi [1-9]" || failed "ahci: no MSI"
    said "guest: faults 0" || failed "the guest's kernel complains"
    ok ahci-msi
    vmctl device list stock
    vmctl kill stock || failed kill
    await nvme-restored has_driver "$nvme" nvme
    await nic-restored has_driver "$nic" e1000e
    ok restored
}

part=$(sed "s/.*vfio=\([a-z]*\).*/\1/" /proc/cmdline)
part_$part
cat /tmp/helper.log
echo "vfio: end"
