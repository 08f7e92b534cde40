#!/usr/bin/python3
"""Prints what libvirt's Python binding hears of the domains at URI, a line an event, until the connection ends.

    libvirt_events.py URI

"registered" is the first line: what happens from then on is told.
"""
import sys
import threading

import libvirt

LIFE = ("defined", "undefined", "started", "suspended", "resumed", "stopped")


def say(*words):
    print(*words, flush=True)


def main(uri):
    ended = threading.Event()
    libvirt.virEventRegisterDefaultImpl()
    conn = libvirt.open(uri)
    conn.registerCloseCallback(lambda *_: ended.set(), None)
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                lambda _, dom, event, detail, __: say(dom.name(), LIFE[event], detail, dom.ID()), None)
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
                                lambda _, dom, __: say(dom.name(), "rebooted"), None)
    for number, what in ((libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, "added"),
                         (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, "removed"),
                         (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, "not removed")):
        conn.domainEventRegisterAny(None, number,
                                    lambda _, dom, alias, what: say(dom.name(), what, alias), what)
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE,
                                lambda _, dom, kib, __: say(dom.name(), "balloon", kib), None)
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_TUNABLE,
                                lambda _, dom, params, __: say(dom.name(), "tuned", params), None)
    conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE,
                                lambda _, dom, kind, uri, __: say(dom.name(), "metadata", kind, uri), None)
    gone = conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_RTC_CHANGE,
                                       lambda *_: say("a clock changed"), None)
    conn.domainEventDeregisterAny(gone)
    say("registered")
    while not ended.is_set():
        libvirt.virEventRunDefaultImpl()
    say("closed")


if __name__ == "__main__":
    main(sys.argv[1])
