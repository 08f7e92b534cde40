#!/usr/bin/python3
"""Changes a running domain and its definition at once, and the definition alone while that is under way: nothing is lost.

    libvirt_meanwhile.py URI DOMAIN
"""
import os
import re
import signal
import socket
import sys
import tempfile
import threading

import libvirt

BOTH = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG


class Wire:
    """A socket that leads to another, and sees what is sent there."""

    def __init__(self, path, target):
        self.sent = threading.Event()
        self.target = target
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.join, daemon=True).start()

    def join(self):
        here = self.listener.accept()[0]
        there = socket.socket(socket.AF_UNIX)
        there.connect(self.target)
        threading.Thread(target=self.pass_on, args=(there, here, None), daemon=True).start()
        self.pass_on(here, there, self.sent)

    @staticmethod
    def pass_on(source, sink, seen):
        while piece := source.recv(65536):
            sink.sendall(piece)
            if seen:
                seen.set()


def main(uri, name):
    target = re.search(r"socket=([^&]*)", uri)[1]
    fault = None
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(f"{folder}/wire", target)
        try:
            run(wire, libvirt.open(uri.replace(target, f"{folder}/wire")), libvirt.open(uri), name)
        except (AssertionError, libvirt.libvirtError) as error:
            fault = f"{type(error).__name__}: {error}"
    if fault:  # only now: the connection ends while there is a wire
        sys.exit(fault)


def run(wire, connection, second, name):
    domain, other = connection.lookupByName(name), second.lookupByName(name)
    process = domain.ID()  # it does not answer for a while
    first = threading.Thread(target=lambda: domain.setMemoryStatsPeriod(7, BOTH))
    os.kill(process, signal.SIGSTOP)
    try:
        wire.sent.clear()
        first.start()
        wire.sent.wait()
        # What came before the first question is begun with at the second, if not before: the daemon reads
        # each connection once in a turn of its loop. One on the same connection would not do: clients of
        # libvirt 9 may keep that until the first call is answered.
        for _ in range(2):
            second.getHostname()
        other.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, "another's", None, None,
                          libvirt.VIR_DOMAIN_AFFECT_CONFIG)
        assert first.is_alive()
    finally:
        os.kill(process, signal.SIGCONT)
    first.join()
    text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    assert "another's<" in text, text
    assert '<stats period="7"/>' in text, text
    print("nothing is lost")


if __name__ == "__main__":
    main(*sys.argv[1:])
