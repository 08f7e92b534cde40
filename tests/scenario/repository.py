#!/usr/bin/env python3
"""A repository of one Debian package, and a web server for it on this machine's loopback.

    repository.py FOLDER [FILE]...

Makes FOLDER, with copies of the FILEs, says "port N" (of 127.0.0.1 and ::1) and serves it until it is ended. The package
"greeting" has a program of that name; the file "word" is there for whoever only wants to reach a
server, and of what is sent with PUT the length and the SHA-256 are said.
"""
import hashlib
import http.server
import pathlib
import shutil
import socket
import subprocess
import sys
import threading

CONTROL = """Package: greeting
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@localhost>
Depends: libc6
Description: says a word
"""


def make(folder):
    """The repository, in FOLDER."""
    tree = folder / "tree"
    for path, text, mode in (("DEBIAN/control", CONTROL, 0o644),
                             ("usr/bin/greeting", "#!/bin/sh\necho greetings from $(uname -m)\n", 0o755)):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text, encoding="utf-8")
        (tree / path).chmod(mode)
    deb = folder / "greeting_1.0_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, deb], check=True,
                   stdout=subprocess.DEVNULL)
    data = deb.read_bytes()
    (folder / "Packages").write_text(
        f"{CONTROL}Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n",
        encoding="utf-8")
    (folder / "word").write_text("reached\n", encoding="utf-8")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the folder, and PUT for what a guest sends."""

    def do_PUT(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        size = left
        while left and (data := self.rfile.read(min(left, 1 << 16))):
            digest.update(data)
            left -= len(data)
        print(f"received {size - left} {digest.hexdigest()}", flush=True)
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir()
    make(folder)
    for file in sys.argv[2:]:
        shutil.copy(file, folder)
    def handler(*arguments):
        return Handler(*arguments, directory=str(folder))

    four = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    port = four.server_address[1]
    six = Server6(("::1", port), handler)
    threading.Thread(target=six.serve_forever, daemon=True).start()
    print(f"port {port}", flush=True)
    four.serve_forever()


if __name__ == "__main__":
    main()
