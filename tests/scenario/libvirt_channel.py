#!/usr/bin/python3
"""A program of the host at a guest's channel: says each line of its input there, and prints what comes.

    libvirt_channel.py socket URI DOMAIN               at the socket that the domain's XML tells of
    libvirt_channel.py stream URI DOMAIN NAME [force]  through libvirt, by a stream
    libvirt_channel.py console URI DOMAIN NAME [force] the same at a console

"connected" is the first line, and "the end" or "lost: REASON" the last.
"""
import socket
import sys
import threading
import xml.etree.ElementTree

import libvirt


def by_socket(domain):
    source = xml.etree.ElementTree.fromstring(domain.XMLDesc()).find("devices/channel[@type='unix']/source")
    assert source.get("mode") == "bind"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(source.get("path"))
    return sock.sendall, sock.recv


def by_stream(domain, how, name, *force):
    stream = domain.connect().newStream()
    if how == "stream":
        domain.openChannel(name, stream, libvirt.VIR_DOMAIN_CHANNEL_FORCE if force else 0)
    else:
        domain.openConsole(name, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else 0)
    return stream.send, stream.recv


def main(how, uri, domain, *name):
    domain = libvirt.open(uri).lookupByName(domain)
    send, receive = by_socket(domain) if how == "socket" else by_stream(domain, how, *name)
    print("connected", flush=True)

    def show():
        try:
            while piece := receive(4096):
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            print("the end", flush=True)
        except libvirt.libvirtError as e:
            print(f"lost: {e}", flush=True)

    threading.Thread(target=show, daemon=True).start()
    for line in sys.stdin:
        send(line.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
