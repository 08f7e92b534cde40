"""What the scripts here share: an apt of their own, whose index is signed by Debian's keys.

Index, settings and state of that apt are in a folder of the cache; the machine's own apt is only
read, and no root is needed. tools/fetch and tools/debian-image are its users. Work on one suite and
architecture is under locked().
"""
import collections
import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
INDEX_MAX_AGE_S = 24 * 3600
# A mirror that is just being updated may serve the parts of a suite from different days, and apt
# then refuses them. The same suite under its other name is often whole; which one it is today is
# in the signed index.
ALIASES = ("stable", "oldstable", "testing")

# How the machine reaches its mirror is taken over; everything else of its apt is left alone.
REACH = re.compile(r"^Acquire::(http|https|ftp|tor|socks|mirror|Retries|ForceIPv[46]|"
                   r"Check-Valid-Until|Check-Date)\b", re.IGNORECASE)
DEBIAN_SUITES = {"bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"}


# Of an "install" on a system that has nothing.
BARE = ("-o", "APT::Install-Recommends=false", "-o", "APT::Get::AutomaticRemove=false")

Row = collections.namedtuple("Row", "package file size sha256")

# Debian's names of the architectures that guests can have, and vmd's.
GUESTS = {"arm64": "aarch64", "riscv64": "riscv64"}


class FetchError(Exception):
    """What went wrong, in words for the person who runs this."""


def say(text):
    print(f"{pathlib.Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def cache_folder():
    """Where fetched and made guest files are kept."""
    return pathlib.Path(os.environ.get("VMD_GUEST_CACHE", TOP / ".cache" / "guest")).absolute()


@contextlib.contextmanager
def locked(folder, name):
    """Lets one process at a time do what NAME stands for in the cache FOLDER."""
    place = folder / "locks"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / name, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another one that works on {name}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def output_of(*command, env=None):
    """The standard output of COMMAND, or FetchError with its own words."""
    done = subprocess.run(command, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise FetchError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mirror():
    """The address of the Debian mirror that this machine's own apt uses."""
    if named := os.environ.get("VMD_DEBIAN_MIRROR"):
        return named
    known = output_of("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
                      "Origin: Debian", "Label: Debian", "Component: main").split("\n")
    if known[0]:
        return known[0]
    # No index was downloaded yet, so nothing but the sources' own words tells what they hold.
    rows = output_of("apt-get", "indextargets", "--no-release-info", "--format",
                     "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").splitlines()
    for row in rows:
        uri, release, component = row.split()
        if release in DEBIAN_SUITES and component == "main":
            return uri
    raise FetchError("this machine's apt knows no Debian mirror; "
                     "set VMD_DEBIAN_MIRROR to the address of one")


class Apt:
    """An apt of its own for one suite and architecture, all of whose state is under FOLDER."""

    def __init__(self, folder, suite, arch):
        self.folder, self.suite, self.arch = folder, suite, arch
        self.env = dict(os.environ, APT_CONFIG=str(folder / "apt.conf"), LC_ALL="C.UTF-8")
        self.stamp = folder / "updated"

    def _configure(self, suite):
        if not os.path.exists(KEYRING):
            raise FetchError(f"{KEYRING} is missing; install the package debian-archive-keyring")
        for sub in ("lists/partial", "cache/archives/partial", "parts"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        source = f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n"
        (self.folder / "sources.list").write_text(source, encoding="utf-8")
        reach = [row for row in output_of("apt-config", "dump").splitlines() if REACH.match(row)]
        where = self.folder
        (self.folder / "apt.conf").write_text("\n".join(reach) + f"""
APT::Architecture "{self.arch}";
APT::Architectures {{ "{self.arch}"; }};
APT::Sandbox::User "root";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "{where}/parts";
Dir::Etc::sourcelist "{where}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{where}/parts";
Dir::State "{where}";
Dir::State::status "{where}/status";
Dir::State::lists "{where}/lists";
Dir::Cache "{where}/cache";
""", encoding="utf-8")

    def _run(self, *command, cwd=None):
        """Runs an apt command with its progress on standard error."""
        done = subprocess.run(command, env=self.env, cwd=cwd, stdin=subprocess.DEVNULL,
                              stdout=sys.stderr, check=False)
        if done.returncode:
            raise FetchError(f"'{' '.join(command)}' failed for {self.suite}/{self.arch}")

    def update(self, force=False):
        """Makes the index of packages be there and not older than a day."""
        fresh = self.stamp.exists() and time.time() - self.stamp.stat().st_mtime < INDEX_MAX_AGE_S
        if fresh and not self._at_home():
            self._configure(self.suite)  # the cache was moved; its index is as good as before
        if fresh and not force:
            return
        for suite in (self.suite, *ALIASES):
            say(f"reading the index of Debian {suite} for {self.arch}")
            self._configure(suite)
            try:
                self._run("apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")
            except FetchError as error:
                failure = error
                continue
            if suite == self.suite or self._codename() == self.suite:
                self.stamp.touch()
                return
        # Whatever the last alias left behind is of another suite.
        shutil.rmtree(self.folder / "lists")
        self.stamp.unlink(missing_ok=True)
        raise failure

    def _at_home(self):
        """Whether apt's settings name the folder where they are now."""
        config = self.folder / "apt.conf"
        return config.exists() and f'Dir::State "{self.folder}";' in config.read_text("utf-8")

    def _codename(self):
        """What the index that was read says of itself."""
        return output_of("apt-get", "indextargets", "--format", "$(CODENAME)",
                         "Created-By: Packages", env=self.env).strip()

    def resolve(self, package):
        """The name of the real package behind PACKAGE and its record: metapackages of kernels
        ("linux-image-riscv64") depend on the package that has the files."""
        show = subprocess.run(["apt-cache", "show", "--no-all-versions", package], env=self.env,
                              text=True, capture_output=True, check=False).stdout
        record = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", show, re.MULTILINE))
        if not record:
            raise FetchError(f"Debian {self.suite} has no package '{package}' for {self.arch}")
        image = re.match(r"linux-image-\d[^ ,]*", record.get("Depends", ""))
        if package.startswith("linux-image-") and image and image[0] != package:
            return self.resolve(image[0])
        return package, record

    def download(self, package, folder):
        """Downloads PACKAGE into FOLDER; apt checks it against the signed index."""
        self._run("apt-get", "-q", "download", package, cwd=folder)
        return next(folder.glob("*.deb"))

    def plan(self, packages):
        """What an empty system needs for PACKAGES (names, or patterns such as "?essential"),
        without recommendations: rows of package, file, size and SHA-256, sorted."""
        done = subprocess.run(["apt-get", "--quiet", "--simulate", *BARE, "install", *packages],
                              env=self.env, text=True, capture_output=True, check=False)
        if done.returncode:
            wrong = re.findall(r"^E: (.*)$", done.stderr, re.MULTILINE)
            raise FetchError(f"Debian {self.suite} for {self.arch}: {'; '.join(wrong)}")
        named = re.findall(r"^Inst (\S+) \((\S+) ", done.stdout, re.MULTILINE)
        exact = [f"{name}={version}" for name, version in named]
        shown = output_of("apt-cache", "show", *exact, env=self.env)
        records = (dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", record, re.MULTILINE))
                   for record in shown.strip().split("\n\n"))
        return sorted({Row(record["Package"], self._archive(record), int(record["Size"]), record["SHA256"])
                       for record in records})

    @staticmethod
    def _archive(record):
        """The name that apt gives a package's file in its cache."""
        version = record["Version"].replace(":", "%3a")
        return f"{record['Package']}_{version}_{record['Architecture']}.deb"

    def download_plan(self, packages):
        """Downloads what plan() tells, checked against the signed index; returns the folder."""
        command = ["apt-get", "-q", "--yes", "--download-only", *BARE, "install", *packages]
        with subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE) as apt:
            for line in apt.stdout:
                if line.startswith(("Get:", "Fetched ", "Err:", "Ign:")):
                    sys.stderr.write(line)
        if apt.returncode:
            raise FetchError(f"downloading the packages failed for {self.suite}/{self.arch}")
        return self.folder / "cache/archives"
