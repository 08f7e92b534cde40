#!/usr/bin/env python3
"""In a libvirtd's place: has a network, a pool with a volume, and a device, and says what it is asked.

    libvirt_upstream.py SOCKET [polkit|sasl|dies]

polkit: clients authenticate themselves by polkit first; sasl: they would have to by a password; dies: it disconnects who asks
for devices. Content that comes up is said by its length and checksum; what goes down is 1 MiB and 3 bytes of a pattern.
"""
import hashlib
import os
import socket
import struct
import sys
import threading

PROGRAM = 0x20008086
CALL, REPLY, MESSAGE, STREAM = range(4)
OK, ERROR, CONTINUE = range(3)
UUID = bytes(range(16))
DENIED = 29
DOWN = bytes(i % 251 for i in range(1024 * 1024 + 3))


def text(value):
    raw = value.encode()
    return struct.pack(">I", len(raw)) + raw + b"\0" * (-len(raw) % 4)


def some(raw):
    """An optional text that is there."""
    return struct.pack(">I", 1) + raw


def read_text(raw):
    size = struct.unpack(">I", raw[:4])[0]
    return raw[4:4 + size].decode(), raw[4 + size + -size % 4:]


def named(name):
    return text(name) + UUID


def say(*words):
    print(*words, flush=True)


class Client:
    def __init__(self, connection, mode):
        self.connection, self.mode = connection, mode
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.readonly, self.up = True, {}

    def send(self, kind, procedure, serial, status, payload):
        frame = struct.pack(">IIIiiIi", 28 + len(payload), PROGRAM, 1, procedure, kind, serial, status) + payload
        with self.lock:
            self.connection.sendall(frame)

    def read(self, size):
        raw = b""
        while len(raw) < size:
            piece = self.connection.recv(size - len(raw))
            if not piece:
                raise EOFError
            raw += piece
        return raw

    def run(self):
        try:
            while True:
                size = struct.unpack(">I", self.read(4))[0]
                _, _, procedure, kind, serial, status = struct.unpack(">IIiiIi", self.read(24))
                payload = self.read(size - 28)
                if kind == STREAM:
                    self.stream(procedure, serial, status, payload)
                elif not self.call(procedure, serial, payload):
                    self.connection.shutdown(socket.SHUT_RDWR)
        except (EOFError, OSError):
            say("a client has left")

    def error(self, procedure, serial, code, message):
        payload = struct.pack(">ii", code, 0) + some(text(message)) + struct.pack(">iIIIIiiI", 2, 0, 0, 0, 0, 0, 0, 0)
        self.send(REPLY, procedure, serial, ERROR, payload)

    def call(self, procedure, serial, payload):
        """False: the client is to be disconnected."""
        answer = b""
        if procedure == 66:
            answer = struct.pack(">II", 1, {"polkit": 2, "sasl": 1}.get(self.mode, 0))
        elif procedure == 70:
            say("polkit")
            answer = struct.pack(">I", 1)
        elif procedure == 1:
            uri, rest = read_text(payload[4:])
            flags = struct.unpack(">I", rest)[0]
            self.readonly = bool(flags & 1)
            say("opened", uri, "to read" if self.readonly else "to write")
        elif procedure == 285:
            if self.mode == "dies":
                return False
            answer = struct.pack(">I", 1) + text("pci_0000_00_1f_0") + struct.pack(">I", 1)
        elif procedure == 283:
            answer = struct.pack(">I", 1) + named("bridged") + struct.pack(">I", 1)
        elif procedure in (46, 84):
            answer = named(read_text(payload)[0])
        elif procedure in (152, 153, 44, 154, 155, 89):
            answer = struct.pack(">I", 1)
        elif procedure == 95:
            answer = text("far") + text(read_text(payload)[0] and "v.img") + text("/far/v.img")
        elif procedure == 42:
            if self.readonly:
                self.error(procedure, serial, DENIED, "operation virNetworkDestroy forbidden for read only access")
                return True
            say("destroyed", read_text(payload)[0])
        elif procedure == 313:
            answer = struct.pack(">I", 0)
        elif procedure == 314:
            self.ended.set()
            say("callback", struct.unpack(">I", payload)[0], "ended")
        elif procedure == 208:
            self.up[serial] = b""
        elif procedure not in (209, 2):
            self.error(procedure, serial, 3, f"the stand-in has no procedure {procedure}")
            return True
        self.send(REPLY, procedure, serial, OK, answer)
        if procedure == 209:
            threading.Thread(target=self.down, args=(serial,), daemon=True).start()
        if procedure == 313:
            threading.Thread(target=self.tell, daemon=True).start()
        return True

    def tell(self):
        """Again and again: a client that has just registered may pass over what comes with the answer."""
        while not self.ended.wait(0.1):
            try:
                self.send(MESSAGE, 315, 0, OK, struct.pack(">I", 0) + named("bridged") + struct.pack(">ii", 2, 0))
            except OSError:
                return

    def down(self, serial):
        for at in range(0, len(DOWN), 65536):
            self.send(STREAM, 209, serial, CONTINUE, DOWN[at:at + 65536])
        self.send(STREAM, 209, serial, CONTINUE, b"")

    def stream(self, procedure, serial, status, payload):
        if status == CONTINUE:
            self.up[serial] += payload
            return
        if status == OK and procedure == 208:
            content = self.up.pop(serial)
            say("came up:", len(content), hashlib.sha256(content).hexdigest())
            if content.startswith(b"refuse"):
                payload = struct.pack(">ii", 38, 18) + some(text("the far disk is full")) \
                    + struct.pack(">iIIIIiiI", 2, 0, 0, 0, 0, 0, 0, 0)
                self.send(STREAM, procedure, serial, ERROR, payload)
                return
        say("a stream ended", "in order" if status == OK else "early")
        self.send(STREAM, procedure, serial, OK, b"")


def main(path, mode=""):
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(16)
        say("ready")
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=Client(connection, mode).run, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
