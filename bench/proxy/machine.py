"""The machine: its cores, its programs and their versions, and what has to be installed."""

from __future__ import annotations

import datetime
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench.project import Unmet, search_path

PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "ab": "apache2-utils",
    "php-fpm": "php-fpm",
    "beanstalkd": "beanstalkd",
    "redis-server": "redis-server",
}
"""The Debian packages that programs come in."""
OPEN_FILES = 65_536
"""For ten thousand connections, both of their ends, and what else there is."""
COMMAND_S = 600.0
"""Longest for a program that installs, builds or tells its version."""


@dataclass(frozen=True)
class Cores:
    """
    Which cores serve, and which make the load.

    @ivar pinned: whether they are apart; with one core they cannot be.
    """

    proxy: frozenset[int]
    load: frozenset[int]

    @property
    def pinned(self) -> bool:
        return not self.proxy & self.load


def divide(cores: Iterable[int], proxies: int = 1) -> Cores:
    """Give the last core (or the last few) to the proxy and the others to load and worker. Pure."""
    known = sorted(cores)
    if len(known) <= proxies:
        return Cores(frozenset(known), frozenset(known))
    return Cores(frozenset(known[-proxies:]), frozenset(known[:-proxies]))


def my_cores() -> frozenset[int]:
    """The cores that this process may use."""
    return frozenset(os.sched_getaffinity(0))


def pin(pids: Iterable[int], cores: frozenset[int]) -> None:
    """Bind all threads of processes to cores; threads to come inherit it."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                os.sched_setaffinity(int(task.name), cores)
            except ProcessLookupError:
                continue


def run_on_cores(cores: frozenset[int], argv: list[str], limit_s: float, folder: Path | None = None) -> str:
    """
    Run a command to its end on some cores only.

    @param folder: where it runs; L{None}: here.
    @return: what it prints.
    @raise Unmet: it did not end in time, or not well.
    """
    try:
        done = subprocess.run(
            ["taskset", "-c", ",".join(map(str, sorted(cores))), *argv],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=limit_s,
            cwd=folder,
        )
    except subprocess.TimeoutExpired as error:
        raise Unmet(f"{' '.join(argv)} did not end in {limit_s:g} s") from error
    if done.returncode:
        raise Unmet(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def children(pid: int) -> list[int]:
    """The processes that a process has started itself."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(folder.name))
    return found


def allow_open_files() -> int:
    """
    Let this process and what it starts have enough open files, as far as it may.

    @return: how many they may have now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, max(hard, OPEN_FILES)))
        except (ValueError, PermissionError):  # a hard limit that is lower can only be raised by who may
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, OPEN_FILES), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# Programs.


def find(program: str) -> str:
    """
    The path of a program; empty if there is none.

    C{php-fpm} has a version in its name.
    """
    if found := shutil.which(program, path=search_path()):
        return found
    if program == "php-fpm":
        for folder in search_path().split(os.pathsep):
            if folder and (versions := sorted(Path(folder).glob("php-fpm[0-9]*"))):
                return str(versions[-1])
    return ""


def need(programs: Iterable[str], say: Callable[[str], None]) -> dict[str, str]:
    """
    Programs by name, with their paths; those that are missing are installed if they can be.

    @raise Unmet: one could not be had.
    """
    wanted = list(programs)
    missing = [program for program in wanted if not find(program)]
    packages = [PACKAGES[program] for program in missing if program in PACKAGES]
    if packages and shutil.which("apt-get") and os.geteuid() == 0:
        say(f"Installing {' '.join(packages)}")
        install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
        if subprocess.run(install, stdout=subprocess.DEVNULL, timeout=COMMAND_S).returncode:
            subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL, timeout=COMMAND_S)
            subprocess.run(install, stdout=subprocess.DEVNULL, timeout=COMMAND_S)
    found = {program: find(program) for program in wanted}
    if lacking := [program for program, path in found.items() if not path]:
        hint = " ".join(PACKAGES.get(program, program) for program in lacking)
        raise Unmet(f"no {', '.join(lacking)} here; install it: apt-get install {hint}")
    return found


def build_go(source: Path, into: Path) -> Path:
    """
    Build a program of the Go files of a folder.

    @return: the program, named after the folder.
    @raise Unmet: it does not build.
    """
    program = into / source.name
    files = sorted(path.name for path in source.glob("*.go"))
    argv = [find("go"), "build", "-trimpath", "-o", str(program), *files]
    built = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S, cwd=source)
    if built.returncode:
        raise Unmet(f"{source} does not build: {built.stderr}")
    return program


# What it is.


def cpu_model(text: str) -> str:
    """The processor's name, of C{/proc/cpuinfo}. Pure."""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def first_version(text: str) -> str:
    """The first thing in a text that looks like a version; empty if nothing does. Pure."""
    found = re.search(r"\d+\.\d+(?:\.\d+)?", text)
    return found.group(0) if found else ""


def says_version(*argv: str) -> str:
    """The version that a program tells; empty if it does not."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S)
    except OSError:
        return ""
    return first_version(done.stdout + done.stderr)


def describe(cores: Cores, today: datetime.date) -> list[str]:
    """Lines that say on what and when it was measured."""
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    software = {
        "Python": platform.python_version(),
        "uvloop": _package("uvloop"),
        "Twisted": _package("twisted"),
        "httptools": _package("httptools"),
        "nginx": says_version(find("nginx"), "-v") if find("nginx") else "",
        "Go": says_version(find("go"), "version") if find("go") else "",
        "PHP": says_version(find("php-fpm"), "-v") if find("php-fpm") else "",
        "wrk": says_version(find("wrk"), "-v") if find("wrk") else "",
    }
    where = (
        f"proxy on core {_list(cores.proxy)}, load and worker on {_list(cores.load)}"
        if cores.pinned
        else "proxy, load and worker share the cores"
    )
    return [
        f"{today:%-d %B %Y}, {cpu_model(Path('/proc/cpuinfo').read_text())}, {os.cpu_count()} cores, "
        f"{memory_gib:.0f} GiB, {sys.platform.capitalize()} {platform.release()}",
        ", ".join(f"{name} {version}" for name, version in software.items() if version),
        where,
    ]


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _list(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
