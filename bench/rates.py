#!/usr/bin/env python3
"""How often the translator finds its code: over a boot, and over the programs.

  rates.py -A ASSETS [-s SEL] [-m MEM]

Boots one VM of vmd (vmd.sh) with the guest program of run.py and asks for the translator's counters
(xlate.stats) when /init begins and after each program but the last, with which the guest ends. A lookup is one by address: of an indirect
jump in the jump cache, and of the run loop in the code cache, where that had nothing, an edge was
not linked yet or an exception came. Linked edges and matched returns look nothing up.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def stats(build, socket):
    """The counters of the only VM of the daemon at SOCKET."""
    def call(*words):
        out = subprocess.run([f"{build}/vmctl/vmctl", *words], check=True, text=True,
                             capture_output=True, env=dict(os.environ, VMD_SOCKET=socket)).stdout
        return json.loads(out)
    vms = call("rpc", "vm.list")
    name = (vms["vms"] if isinstance(vms, dict) else vms)[0]["name"]
    return call("rpc", "xlate.stats", json.dumps({"vm": name}))


def show(what, now, before):
    def delta(key):
        return now[key] - (before[key] if before else 0)
    lookups, hits = delta("lookups"), delta("hits")
    insns, ns = delta("translated_instructions"), delta("translation_ns")
    print(f"{what:10} lookups {lookups:9}  hits {100 * hits / max(lookups, 1):6.2f} %  "
          f"linked {100 * now['link_rate']:6.2f} %  "
          f"translated {insns:8} in {ns / 1e6:7.1f} ms, {ns / max(insns, 1):5.0f} ns each")


def main():
    ap = argparse.ArgumentParser(description=__doc__,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-A", "--assets", default="assets")
    ap.add_argument("-s", "--sel", default="int,fp,mem,sys")
    ap.add_argument("-m", "--mem", default="1G")
    a = ap.parse_args()
    build = os.environ.get("VMD_BUILD", f"{HERE}/../build")
    d = os.path.join(os.path.abspath(a.assets), "riscv64")
    with tempfile.NamedTemporaryFile("r") as ready:
        vm = subprocess.Popen(
            [f"{HERE}/vmd.sh", "--memory", a.mem, "--kernel", f"{d}/kernel",
             "--initrd", f"{d}/mini.cpio",
             "--append", f"console=ttyS0 quiet loglevel=1 panic=-1 xb={a.sel}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
            env=dict(os.environ, VMD_READY=ready.name))
        boot = last = None
        for line in vm.stdout:
            if "XB-INIT" in line:
                socket = ready.read().strip()
                boot = stats(build, socket)
                show("boot", boot, None)
            elif line.startswith("RESULT "):
                try:
                    now = stats(build, socket)
                except (subprocess.CalledProcessError, IndexError):
                    break  # powered off: the last program's are lost
                show(line.split()[1], now, last or boot)
                last = now
        vm.wait()
    if not boot:
        sys.exit("rates.py: the guest did not come to its programs")
    if last:
        show("programs", last, boot)


if __name__ == "__main__":
    main()
