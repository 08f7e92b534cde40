"""The scripts of tools/: what they make, and what they refuse."""
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import stat
import struct
import subprocess
import sys
import tempfile
import unittest
import uuid
import zlib
from unittest import mock

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
SUITE, ARCH = "trixie", "riscv64"


def load(name):
    """The script tools/NAME as a module."""
    if str(TOOLS) not in sys.path:
        sys.path.insert(0, str(TOOLS))  # where it finds what it shares with others
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(TOOLS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class TestSummary(unittest.TestCase):
    # name, results, environment, closing line, exit status
    ROWS = (
        ("all pass", ["OK", "EXPECTEDFAIL"], {}, "2 passed, 0 failed", 0),
        ("one fails", ["OK", "FAIL"], {}, "1 passed, 1 failed", 1),
        ("one times out", ["OK", "TIMEOUT"], {}, "1 passed, 1 failed", 1),
        ("one passes that should not", ["OK", "UNEXPECTEDPASS"], {}, "1 passed, 1 failed", 1),
        ("one does not even start", ["OK", "ERROR"], {}, "1 passed, 1 failed", 1),
        ("a word of a later meson", ["OK", "NOVEL"], {}, "1 passed, 1 failed", 1),
        ("one is skipped", ["OK", "SKIP"], {}, "1 passed, 0 failed, 1 skipped", 0),
        ("one is skipped in the gate", ["OK", "SKIP"], {"CI": "true"},
         "1 passed, 0 failed, 1 skipped", 1),
        ("only skipped", ["SKIP"], {}, "0 passed, 0 failed, 1 skipped", 1),
        ("none ran", [], {}, "0 passed, 0 failed", 1),
    )

    def test_rows(self):
        summary = load("test-summary")
        for name, results, env, closing, status in self.ROWS:
            with self.subTest(name), tempfile.TemporaryDirectory() as scratch:
                log = pathlib.Path(scratch, "testlog.json")
                log.write_text("".join(json.dumps({"name": "t", "result": result}) + "\n"
                                       for result in results), encoding="utf-8")
                said = io.StringIO()
                with mock.patch.dict(os.environ, env), contextlib.redirect_stdout(said):
                    if "CI" not in env:
                        os.environ.pop("CI", None)
                    self.assertEqual(summary.main([log]), status)
                self.assertEqual(said.getvalue().splitlines()[-1], closing)


    def test_without_kvm(self):
        """What lacks /dev/kvm does not fail the gate, where there is none; the closing line tells."""
        summary = load("test-summary")
        rows = [{"name": "a", "result": "OK", "stdout": ""},
                {"name": "b", "result": "SKIP", "stdout": "skipped: needs /dev/kvm\n"}]
        closing = "1 passed, 0 failed, 1 skipped"
        for access, status, told in ((False, 0, True), (True, 1, False)):
            with self.subTest(access), tempfile.TemporaryDirectory() as scratch:
                log = pathlib.Path(scratch, "testlog.json")
                log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
                said = io.StringIO()
                with mock.patch.dict(os.environ, {"CI": "true"}), contextlib.redirect_stdout(said), \
                        mock.patch.object(summary.os, "access", return_value=access):
                    self.assertEqual(summary.main([log]), status)
                last = said.getvalue().splitlines()[-1]
                self.assertTrue(last.startswith(closing), last)
                self.assertEqual("WANT OF /dev/kvm" in last, told)


class TestSetup(unittest.TestCase):
    def test_table_has_no_package_twice(self):
        rows = [line.split(None, 2) for line in
                (TOOLS / "packages.txt").read_text(encoding="utf-8").splitlines()
                if line and not line.startswith("#")]
        self.assertTrue(all(len(row) == 3 and row[0] in ("build", "test", "kernel") for row in rows), rows)
        names = [row[1] for row in rows]
        self.assertEqual(len(names), len(set(names)))

    def test_missing_packages_are_named_and_not_installed(self):
        with tempfile.TemporaryDirectory() as scratch:
            query = pathlib.Path(scratch, "dpkg-query")
            query.write_text("#!/bin/sh\necho 'meson installed'\necho 'gcc config-files'\n")
            query.chmod(0o755)
            env = dict(os.environ, PATH=f"{scratch}:{os.environ['PATH']}")
            done = subprocess.run([TOOLS / "setup", "build", "--print"], env=env, text=True,
                                  capture_output=True, check=True)
        missing = done.stdout.split()
        self.assertIn("gcc", missing)  # removed, its configuration left
        self.assertNotIn("meson", missing)
        self.assertNotIn("qemu-utils", missing)  # of the other group


def read_cpio(data):
    """The members of a newc archive: name -> (mode, owner, device, contents)."""
    members, at = {}, 0
    while True:
        assert data[at:at + 6] == b"070701", data[at:at + 6]
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + fields[11] - 1].decode()
        start = at + 110 + fields[11]
        start += -start % 4
        at = start + fields[6] + -fields[6] % 4
        if name == "TRAILER!!!":
            return members
        members[name] = (fields[1], fields[2:4], tuple(fields[9:11]), data[start:start + fields[6]])


def module(depends, softdep=""):
    """A kernel module as far as mkinitrd looks: an ELF file with a .modinfo section."""
    info = f"license=GPL\0depends={depends}\0".encode()
    info += f"softdep={softdep}\0".encode() if softdep else b""
    names = b"\0.modinfo\0.shstrtab\0"
    header = struct.pack("<6s10x2HI3QI6H", b"\x7fELF\x02\x01", 1, 243, 1, 0, 0,
                         64 + len(info) + len(names), 0, 64, 0, 0, 64, 3, 2)
    sections = ((0, 0, 0), (1, 64, len(info)), (10, 64 + len(info), len(names)))
    return header + info + names + b"".join(
        struct.pack("<I20xQQ24x", name, offset, size) for name, offset, size in sections)


class TestMkinitrd(unittest.TestCase):
    def setUp(self):
        self.mkinitrd = load("mkinitrd")
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.top = pathlib.Path(scratch.name)
        base = self.top / "usr/lib/modules/6.12"
        (base / "kernel").mkdir(parents=True)
        for name, data in (("virtio_net", module("net-failover", "pre: extra gone")),
                           ("net_failover", module("failover")), ("failover", module("")),
                           ("extra", module("failover"))):
            (base / "kernel" / f"{name}.ko").write_bytes(data)
        (base / "modules.builtin").write_text("kernel/drivers/virtio/virtio-pci.ko\n")

    def test_modules_come_after_what_they_need(self):
        kernel = self.mkinitrd.Modules(self.top)
        order = [name for name, _ in kernel.closure(["virtio_pci", "virtio-net"])]
        self.assertEqual(order, ["failover", "net_failover", "extra", "virtio_net"])

    def test_unknown_module_is_an_error(self):
        with self.assertRaisesRegex(self.mkinitrd.InitrdError, "no module 'nothing'"):
            self.mkinitrd.Modules(self.top).closure(["nothing"])

    def test_what_is_no_module_is_an_error(self):
        with self.assertRaisesRegex(self.mkinitrd.InitrdError, "not a little-endian"):
            self.mkinitrd.module_info(b"text, not a module")

    def test_archive(self):
        extra = self.top / "extra"
        extra.write_bytes(b"abc")
        extra.chmod(0o640)
        made = [self.mkinitrd.build(b"box", [("a", b"module")], b"exit 3", [(extra, "etc/x/extra")])
                for _ in range(2)]
        self.assertEqual(made[0], made[1])
        self.assertEqual(len(made[0]) % 512, 0)
        members = read_cpio(made[0])
        self.assertTrue(all(owner == [0, 0] for _, owner, _, _ in members.values()))
        self.assertEqual(members["dev/console"][0::2], (stat.S_IFCHR | 0o600, (5, 1)))
        self.assertEqual(members["bin/busybox"][0::3], (stat.S_IFREG | 0o755, b"box"))
        self.assertEqual(members["bin/sh"][0::3], (stat.S_IFLNK | 0o777, b"busybox"))
        self.assertEqual(members["lib/modules/order"][3], b"a.ko\n")
        self.assertEqual(members["test"][3], b"exit 3")
        self.assertEqual(members["etc/x/extra"][0::3], (stat.S_IFREG | 0o640, b"abc"))
        names = list(members)
        self.assertLess(names.index("etc"), names.index("etc/x"))
        self.assertLess(names.index("etc/x"), names.index("etc/x/extra"))


class TestDebianImage(unittest.TestCase):
    def setUp(self):
        self.tool = load("debian-image")
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.top = pathlib.Path(scratch.name)

    def make_deb(self):
        tree = self.top / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text("Package: word\nVersion: 1:2\nArchitecture: all\n"
                                             "Maintainer: nobody\nDescription: none\n")
        (tree / "word").write_text("word\n" * 1000)
        deb = self.top / "word_1%3a2_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, deb], check=True,
                       stdout=subprocess.DEVNULL)
        return deb

    def test_repacked_package_is_the_same_to_dpkg(self):
        deb, new = self.make_deb(), self.top / "new.deb"
        self.tool.repack(deb, new)
        self.assertIn("data.tar", [name for name, _ in self.tool.archive_members(new)])
        for what in ("--contents", "--field"):
            self.assertEqual(self.tool.output_of("dpkg-deb", what, str(deb)),
                             self.tool.output_of("dpkg-deb", what, str(new)))
        entry = self.tool.index_entry(new, "new.deb")
        self.assertIn(f"\nFilename: ./new.deb\nSize: {new.stat().st_size}\nSHA256: ", entry)

    def test_what_is_no_package_is_an_error(self):
        (self.top / "text").write_text("text, not a package")
        with self.assertRaisesRegex(self.tool.ImageError, "no Debian package"):
            list(self.tool.archive_members(self.top / "text"))

    # size, bits of a cluster, what is written where
    IMAGES = (
        ("nothing in it", 1 << 20, 16, []),
        ("a part of a cluster at the end", (1 << 20) + 512, 16, [((1 << 20) + 10, b"end")]),
        ("beyond one table", 5 << 30, 16,
         [(0, b"first"), (1 << 29, b"second"), ((5 << 30) - 4, b"last")]),
        ("beyond one block of counts", 1 << 20, 9, [(at << 9, b"x") for at in range(0, 2048, 2)]),
    )

    def test_qcow2_is_what_the_raw_image_was(self):
        for name, size, bits, writes in self.IMAGES:
            with self.subTest(name):
                raw, image = self.top / "raw", self.top / "qcow2"
                with open(raw, "wb") as file:
                    for at, data in writes:
                        file.seek(at)
                        file.write(data)
                    file.truncate(size)
                self.tool.write_qcow2(raw, image, bits)
                for command in (["check", "-q", image],
                                ["compare", "-q", "-f", "raw", "-F", "qcow2", raw, image]):
                    done = subprocess.run(["qemu-img", *command], text=True, capture_output=True,
                                          check=False)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_partition_table(self):
        """Both copies of the table agree with each other and with their checksums (UEFI 2.10, 5.3)."""
        kind, own, disk = (uuid.UUID(int=n) for n in (1, 2, 3))
        size = 1 << 20
        head, tail = self.tool.partition_table(size, [(kind, own, "root", 64, 100)], disk)
        self.assertEqual((len(head), len(tail)), (34 * 512, 33 * 512))
        self.assertEqual((head[450], head[510:512]), (0xee, b"\x55\xaa"))
        entries = head[1024:]
        self.assertEqual(entries, tail[:-512])
        self.assertEqual(struct.unpack("<16s16sQQ", entries[:48]), (kind.bytes_le, own.bytes_le, 64, 163))
        for here, other, header in ((1, 2047, head[512:1024]), (2047, 1, tail[-512:])):
            fields = struct.unpack("<8s4xII4xQQQQ16sQIII", header[:92])
            zeroed = header[:16] + bytes(4) + header[20:92]
            self.assertEqual(fields[:2] + fields[3:], (
                b"EFI PART", 92, here, other, 34, 2014, disk.bytes_le, 2 if here == 1 else 2015, 128, 128,
                zlib.crc32(entries)))
            self.assertEqual(fields[2], zlib.crc32(zeroed))

    def test_image_that_is_there_needs_no_mirror(self):
        link = self.tool.made_before(self.top, self.tool.parse(["--packages", "less"]),
                                     sorted({*self.tool.PACKAGES, "linux-image-riscv64"}),
                                     "file:/nowhere")
        link.parent.mkdir()
        link.symlink_to("made")
        (link.parent / "made").mkdir()
        env = dict(os.environ, VMD_GUEST_CACHE=str(self.top), VMD_DEBIAN_MIRROR="file:/nowhere")
        for size, status, said in (("8G", 0, ""), ("9G", 1, "failed for trixie/riscv64")):
            with self.subTest(size):
                done = subprocess.run([TOOLS / "debian-image", "--packages", "less", "--size", size],
                                      env=env, text=True, capture_output=True, check=False)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertIn(said, done.stderr)
                self.assertEqual(done.stdout, "" if status else f"{self.top.resolve()}/images/made\n")

    # arguments, what is said
    MISTAKES = (
        (["--arch", "m68k"], "guests of 'm68k' are not offered; there is arm64, riscv64"),
        (["--efi"], "disks for UEFI are made of arm64 alone"),
        (["--size", "100M"], "'100M' is not a size from 1G to 4T"),
        (["--size", "8"], "'8' is not a size"),
        (["--packages", "gcc,--now"], "'--now' is not the name of a package"),
        (["--output", "x.raw"], "'x.raw' is not NAME.qcow2"),
        (["--output", "/no/such/x.qcow2"], "in a folder that exists"),
    )

    def test_mistakes(self):
        for arguments, words in self.MISTAKES:
            with self.subTest(arguments):
                said = io.StringIO()
                with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                    self.tool.parse(arguments)
                self.assertEqual(ended.exception.code, 2)
                self.assertIn(words, said.getvalue())

    def test_guest_that_fails_is_heard(self):
        hear = self.tool.Listener(10)
        for line in ("Setting up mawk (1.3) ...", "E: Unable to do it", "init: status 100"):
            hear(line)
        self.assertEqual((hear.set_up, hear.errors, hear.status),
                         ({"mawk"}, ["E: Unable to do it"], 100))


class TestFetch(unittest.TestCase):
    """tools/fetch against mirrors in a folder, which apt reads without a network."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.top = pathlib.Path(scratch.name)
        self.cache = self.top / "cache"
        self.env = dict(os.environ, VMD_GUEST_CACHE=str(self.cache),
                        VMD_DEBIAN_MIRROR=f"file:{self.top}/mirror")

    def fetch(self, *arguments):
        return subprocess.run([TOOLS / "fetch", *arguments], env=self.env, text=True,
                              capture_output=True, check=False)

    def put(self, package, files):
        """Lays FILES (name -> bytes) into the cache as if they had been fetched."""
        place = self.cache / SUITE / ARCH / package
        for name, data in files.items():
            (place / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            (place / "root" / name).write_bytes(data)
        (place / "package.json").write_text(json.dumps(
            {"package": package, "version": "1", "sha256": "0",
             "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}}))
        return place / "root"

    def make_mirror(self):
        """A mirror of one package that nobody signed."""
        index = self.top / "mirror/dists" / SUITE / f"main/binary-{ARCH}/Packages"
        index.parent.mkdir(parents=True)
        index.write_text("Package: busybox-static\nVersion: 1\nArchitecture: riscv64\nSize: 1\n"
                         f"Filename: pool/b.deb\nSHA256: {'0' * 64}\n")
        data = index.read_bytes()
        release = self.top / "mirror/dists" / SUITE / "Release"
        release.write_text(f"Origin: Debian\nSuite: {SUITE}\nCodename: {SUITE}\n"
                           f"Architectures: {ARCH}\nComponents: main\nSHA256:\n "
                           f"{hashlib.sha256(data).hexdigest()} {len(data)} "
                           f"main/binary-{ARCH}/Packages\n")

    def test_unsigned_index_is_refused(self):
        self.make_mirror()
        done = self.fetch("busybox-riscv64")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("is not signed", done.stderr)
        self.assertEqual(list(self.cache.glob("trixie/**/root")), [])

    def test_mirror_that_is_not_there_is_an_error(self):
        done = self.fetch("busybox-riscv64")
        self.assertEqual(done.returncode, 1)
        self.assertIn("failed for trixie/riscv64", done.stderr)

    def test_cached_file_needs_no_mirror(self):
        self.put("busybox-static", {"usr/bin/busybox": b"box"})
        done = self.fetch("busybox-riscv64")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        link = pathlib.Path(done.stdout.strip())
        self.assertEqual(link, self.cache / "files/busybox-riscv64")
        self.assertEqual(link.read_bytes(), b"box")

    def test_changed_file_is_not_used(self):
        root = self.put("busybox-static", {"usr/bin/busybox": b"box"})
        (root / "usr/bin/busybox").write_bytes(b"fox")
        done = self.fetch("busybox-riscv64")
        self.assertIn("was changed since it was fetched", done.stderr)
        self.assertEqual((done.returncode, done.stdout), (1, ""))

    def test_unknown_name_is_an_error(self):
        done = self.fetch("no-such-file")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no guest file is called 'no-such-file'", done.stderr)

    def test_own_apt_is_private(self):
        """Every place that apt writes to is in the cache; its strictness is not the machine's."""
        self.make_mirror()
        self.fetch("busybox-riscv64")
        config = self.cache / "apt" / f"{SUITE}-{ARCH}" / "apt.conf"
        dump = subprocess.run(["apt-config", "dump"], env=dict(os.environ, APT_CONFIG=str(config)),
                              text=True, stdout=subprocess.PIPE, check=True).stdout
        settings = dict(line.rstrip(";").replace('"', "").split(" ", 1)
                        for line in dump.splitlines() if " " in line)
        for name in ("Dir::State", "Dir::State::lists", "Dir::State::status", "Dir::Cache",
                     "Dir::Etc::sourcelist"):
            self.assertTrue(settings[name].startswith(str(self.cache)), (name, settings[name]))
        for name in ("APT::Get::AllowUnauthenticated", "Acquire::AllowInsecureRepositories"):
            self.assertEqual(settings[name], "false", name)
        self.assertEqual(settings["APT::Architecture"], ARCH)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main()
