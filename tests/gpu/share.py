"""Which part of the software device's time each of two VMs has: share.py VMCTL A B WANTED WITHIN.

Looks at gpu.stats until both together had the device for SECONDS from when both were at it, and
wants A's part to be WANTED percent, within WITHIN percent of that, and B's part the rest, alike. A
launch that the host interrupts for long is ahead by that, once: MOST is what it has to even out in."""
import json
import subprocess
import sys
import time

SECONDS = 12
MOST = 120
LIMIT = 200


def stats(vmctl):
    out = subprocess.run([vmctl, "gpu", "stats", "--json"], check=True, stdout=subprocess.PIPE, timeout=60)
    return {gpu["vm"]: gpu for gpu in json.loads(out.stdout)["gpus"]}


def holds(had, wanted, within):
    return all(abs(100 * part / sum(had) - want) <= want * within / 100 for part, want in zip(had, (wanted, 100 - wanted)))


def main():
    vmctl, names, wanted, within = sys.argv[1], sys.argv[2:4], float(sys.argv[4]), float(sys.argv[5])
    until = time.monotonic() + LIMIT
    first, had, launches = None, [0, 0], [0, 0]
    while not first or sum(had) < SECONDS * 10**9 or (sum(had) < MOST * 10**9 and not holds(had, wanted, within)):
        if time.monotonic() > until:
            sys.exit(f"after {LIMIT} seconds: {had} ns")
        time.sleep(0.2)
        now = stats(vmctl)
        rows = [now[name] for name in names]
        if not first and all(row["time_ns"] > 10**8 for row in rows):
            first = rows
        if first:
            had = [row["time_ns"] - was["time_ns"] for row, was in zip(rows, first)]
            launches = [row["launches"] - was["launches"] for row, was in zip(rows, first)]
    for name, time_ns, want in zip(names, had, (wanted, 100 - wanted)):
        part = 100 * time_ns / sum(had)
        print(f"{name} had {part:.2f} % of {sum(had) / 1e9:.1f} s, {want:.0f} % wanted")
    if not holds(had, wanted, within):
        sys.exit(1)
    print(f"launches: {100 * launches[0] / sum(launches):.1f} %")


main()
