# The stock guest's part: an NVMe disk that is there from the start, an e1000e interface that comes, goes and
# comes back, by MSI-X and by its line, a SATA controller by MSI. It says what it found in lines that begin with "guest:".
say() { echo "guest: $*"; }
sum() { sha256sum | cut -d ' ' -f 1; }

until [ -b /dev/nvme0n1 ]; do sleep 0.1; done
say read $(dd if=/dev/nvme0n1 bs=64k count=8 iflag=direct 2>/dev/null | sum)
dd if=/bin/busybox of=/dev/nvme0n1 bs=64k seek=8 count=8 oflag=direct conv=fsync 2>/dev/null
say wrote $(dd if=/bin/busybox bs=64k count=8 2>/dev/null | sum)
say interrupts nvme $(grep -c 'MSI.* nvme0q' /proc/interrupts)

# transfer KIND: what QEMU's own network has is fetched and sent back.
transfer() {
    until [ -d /sys/class/net/eth0 ]; do sleep 0.1; done
    ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
    until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
    rm -f /tmp/data
    until tftp -g -r data -l /tmp/data 10.0.2.2 2>/dev/null; do sleep 0.5; done
    nc 10.0.2.100 7 </tmp/data >/dev/null &
    say interrupts "$1" $(grep eth0 /proc/interrupts | grep -c "$2")
    say fetched "$1" $(sum </tmp/data)
}

say ready
transfer msix PCI-MSIX
until [ ! -d /sys/class/net/eth0 ]; do sleep 0.1; done
say gone
rmmod e1000e
insmod /lib/modules/e1000e.ko IntMode=0
say again
transfer intx GICv3
say transferred
until [ ! -d /sys/class/net/eth0 ]; do sleep 0.1; done
say gone again
until [ -b /dev/sda ]; do sleep 0.1; done
say sata $(dd if=/dev/sda bs=64k count=8 iflag=direct 2>/dev/null | sum)
say interrupts msi $(grep -c 'PCI-MSI-.* ahci' /proc/interrupts)
say faults $(dmesg | grep -cE 'BUG|WARNING|Oops|Call trace|hung')
say done
while read -r word; do :; done
