#!/usr/bin/python3
"""Prints bytes of a domain's disk, or of its guest's memory, as Python writes them.

    libvirt_peek.py URI DOMAIN disk DISK OFFSET SIZE
    libvirt_peek.py URI DOMAIN memory ADDRESS SIZE physical|virtual
"""
import sys

import libvirt

KINDS = {"physical": libvirt.VIR_MEMORY_PHYSICAL, "virtual": libvirt.VIR_MEMORY_VIRTUAL}


def main(uri, name, what, *words):
    domain = libvirt.open(uri).lookupByName(name)
    if what == "disk":
        print(domain.blockPeek(words[0], int(words[1], 0), int(words[2], 0)))
    else:
        print(domain.memoryPeek(int(words[0], 0), int(words[1], 0), KINDS[words[2]]))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except libvirt.libvirtError as error:
        sys.exit(f"code {error.get_error_code()}: {error}")
