"""scenario.py itself, with a small program in the daemon's place: what passes, what must fail."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCENARIO = pathlib.Path(__file__).resolve().with_name("scenario.py")

# Answers each line with its own id, closes on a line that is no JSON, ends with 0 on SIGTERM.
DAEMON = """#!/usr/bin/env python3
import json, os, pathlib, signal, socket, subprocess, sys, threading
if sys.argv[1:] == ["--broken"]:
    sys.exit(9)
path = pathlib.Path(os.environ["VMD_SOCKET"])
path.parent.mkdir(exist_ok=True)
path.unlink(missing_ok=True)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server = socket.socket(socket.AF_UNIX)
server.bind(str(path))
server.listen()
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
pathlib.Path(os.environ["XDG_STATE_HOME"], "child").write_text(str(child.pid))
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"STATUS=up\\nREADY=1", os.environ["NOTIFY_SOCKET"])
def serve(peer):
    for line in peer.makefile():
        try:
            request = json.loads(line)
        except ValueError:
            break
        peer.sendall(b'{"event": 1}\\n' + json.dumps(
            {"id": request["id"], "result": {"vms": [{"name": "a"}]}}).encode() + b"\\n")
    peer.shutdown(socket.SHUT_RDWR)
while True:
    threading.Thread(target=serve, args=server.accept()[:1], daemon=True).start()
"""

# name, scenario, exit status, what the output must have
ROWS = (
    ("commands", "do echo hello\noutput ^hello$\nno-output bye\nfail 3 sh -c 'echo no >&2; exit 3'\n"
     "errors no\n", 0, "passed"),
    ("wrong status", "do false\n", 1, "x.scn:1: do: status 1, not 0"),
    ("fail must fail", "fail 1 true\n", 1, "status 0, not 1"),
    ("output is missing", "do echo a\n\noutput b\n", 1, "x.scn:3: output: no /b/ in the output"),
    ("output that must not be", "do echo a\nno-output a\n", 1, "the output has /a/"),
    ("variables", "let x 'a b'\nfile f <<END\none ${x}\nEND\ndo cat ${f}\noutput '^one a b$'\n", 0, ""),
    ("environment", "env X y\ndo sh -c 'echo $X'\noutput ^y$\nenv X\ndo sh -c 'echo $X-'\n"
     "output ^-$\n", 0, ""),
    ("variable that is none", "do echo ${nothing}\n", 1, "there is no variable 'nothing'"),
    ("group sets a variable", "do echo pid 17\noutput 'pid (?P<pid>.*)'\ndo echo ${pid}\n"
     "output ^17$\n", 0, ""),
    ("text without end", "file f <<END\none\n", 1, "x.scn:1: no line 'END' ends the text"),
    ("open quote", "do 'echo\n", 1, "x.scn:1: No closing quotation"),
    ("command that is none", "jump\n", 1, "there is no command 'jump'"),
    ("program in a pipe", "start p sh -c 'read x; echo got $x; cat; exit 4'\nsend p 'it\\n'\n"
     "expect p 'got it'\nclose p\nexit p 4\n", 0, "passed"),
    ("program on a terminal", "start-tty p sh -c 'test -t 0 && test -t 2 && read x && echo got-$x'\n"
     "send p 'it\\n'\nexpect p got-it\nexit p 0\n", 0, "passed"),
    ("matches move on", "start p sh -c 'echo one; echo two'\nexpect p two\nexpect p one\n", 1,
     "p ended without saying /one/"),
    ("signal", "start p sleep 100\nsignal p TERM\nexit p -15\n", 0, ""),
    ("wait for output has an end", "limit 0.3\nstart p sleep 100\nexpect p x\n", 1,
     "the time is over, waiting for p to say /x/"),
    ("wait for a command has an end", "limit 0.3\ndo sleep 100\n", 1, "the time is over, waiting for"),
    ("wait for an end has an end", "limit 0.3\nstart p sleep 100\nexit p 0\n", 1,
     "the time is over, waiting for p to end"),
    ("sanitizer's report", "start p sh -c 'echo ==1==ERROR: AddressSanitizer: x'\nexit p 0\n", 1,
     "p said 'ERROR: AddressSanitizer'"),
    ("assertion in a log", "file log <<END\nx.c:1: f: Assertion `y' failed.\nEND\n", 1,
     "log said 'Assertion `y' failed"),
    ("report in a log, whole", "file log <<END\nx\nWARNING: ThreadSanitizer: race\n  by thread 2\nEND\n", 1,
     "log said 'WARNING: ThreadSanitizer':\nWARNING: ThreadSanitizer: race\n  by thread 2\n"),
    ("json", "do echo '{\"a\": [{\"b\": 2}], \"c\": \"d\"}'\njson .a.0.b == 2\njson .a.count == 1\n"
     "json .a.0.b >= 2\njson .c == d\njson .c ~ ^d\njson .c != e\njson .e == null\n", 0, ""),
    ("json differs", "do echo '{\"a\": 1}'\njson .a == 2\n", 1, ".a is 1"),
    ("operator that is none", "do echo '{}'\njson .a =~ 2\n", 1, "no operator '=~'"),
    ("what the machine lacks", "require /nowhere\ndo false\n", 77, "skipped: needs /nowhere"),
    ("daemon", "daemon d start\nconnect c\nrequest c '{\"id\": 5}'\nreceive c\njson .event == 1\n"
     "receive c .id == 5\njson .result.vms.0.name == a\nsave n .result.vms.0.name\n"
     "raw c 'no\\x20json\\n'\nclosed c\nconnect e\ndisconnect e\ndaemon d kill\n"
     "daemon e start\ndaemon e stop\n", 0, "passed"),
    ("daemon that does not start", "daemon d start --broken\n", 1, "ended before it was ready, with 9"),
    ("message that never comes", "limit 1\ndaemon d start\nconnect c\nreceive c\n", 1,
     "the time is over"),
)


class TestScenario(unittest.TestCase):
    def run_scenario(self, top, text):
        (top / "daemon").mkdir(exist_ok=True)
        (top / "daemon/vmd").write_text(DAEMON, encoding="utf-8")
        (top / "daemon/vmd").chmod(0o755)
        (top / "x.scn").write_text(text, encoding="utf-8")
        return subprocess.run([sys.executable, "-B", SCENARIO, "--build", top, top / "x.scn"],
                              text=True, capture_output=True, check=False)

    def test_rows(self):
        for name, text, status, said in ROWS:
            with self.subTest(name), tempfile.TemporaryDirectory() as scratch:
                done = self.run_scenario(pathlib.Path(scratch), text)
                self.assertEqual((done.returncode, done.stderr), (status, ""), done.stdout)
                self.assertIn(said, done.stdout)

    def test_nothing_is_left_running(self):
        with tempfile.TemporaryDirectory() as scratch:
            done = self.run_scenario(
                pathlib.Path(scratch), "daemon d start\ndo cat ${tmp}/state/child\n"
                "output '(?P<pid>[0-9]+)'\ndaemon d kill\ndo sh -c 'kill -0 ${pid}'\n")
            self.assertEqual(done.returncode, 0, done.stdout)
            done = self.run_scenario(
                pathlib.Path(scratch), "daemon d start\ndo cat ${tmp}/state/child\nfail 0 false\n")
            pid = done.stdout.split("stdout | ")[1].split("\n")[0]
            self.assertFalse(pathlib.Path("/proc", pid).exists())


if __name__ == "__main__":
    unittest.main()
