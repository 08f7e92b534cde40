#!/usr/bin/python3
"""Changes a running domain and its definition at once, and the definition alone while that is under way: nothing is lost.

    libvirt_meanwhile.py URI DOMAIN
"""
import os
import signal
import sys
import threading

import libvirt

BOTH = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
CHANGES = 5  # each is stored; the first one is long under way then, and not given up yet


def main(uri, name):
    domain = libvirt.open(uri).lookupByName(name)
    other = libvirt.open(uri).lookupByName(name)
    process = domain.ID()  # it does not answer for a while
    first = threading.Thread(target=lambda: domain.setMemoryStatsPeriod(7, BOTH))
    os.kill(process, signal.SIGSTOP)
    try:
        first.start()
        for i in range(CHANGES):
            other.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, f"change {i}", None, None,
                              libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        assert first.is_alive()
    finally:
        os.kill(process, signal.SIGCONT)
    first.join()
    text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert f"change {CHANGES - 1}<" in text, text
    assert '<stats period="7"/>' in text, text
    print("nothing is lost")


if __name__ == "__main__":
    main(*sys.argv[1:])
