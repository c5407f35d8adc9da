"""
What a process is given, and the command line that gives it. Pure.

C{reactor.spawnProcess} copies the whole server with C{fork} as soon as it has to change the user or the
directory. So it is told neither: small programs of the system, each replacing itself by the next, prepare the
process instead:

    setsid → env --chdir → [sh: umask] → [nice] → [prlimit] → setpriv → the worker

None of them forks, so that the process id which the reactor knows is that of the worker, which leads a
session and a process group of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from ..config.model import ProcessLimits

PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
"""
Variables of the server's own environment that workers get (contract: the rest of it is none of their
business).
"""

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The search path of a server that has none itself, as Debian's init gives it to services."""


class SpawnFault(Exception):
    """
    A process could not be started, and nothing was.

    @ivar reason: what is in the way, one sentence.
    @ivar remedy: what an operator can do about it; empty if there is nothing to say.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})" if self.remedy else self.reason


@frozen
class Address:
    """
    Where a process listens: C{host} and C{port}, or the C{path} of a UNIX socket.

    @ivar port: 1 to 65535, or 0 when C{path} is set.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


@frozen
class ProcessSpec:
    """
    One process to be.

    @ivar argv: the program and its arguments. A program without a slash is looked for in the C{PATH} of
        C{environment}, one with a slash from C{directory} on.
    @ivar directory: absolute working directory.
    @ivar environment: the whole environment; nothing is added.
    @ivar user: name or number of the user to be, or L{None} for the server's own.
    @ivar group: name or number of the primary group, or L{None} for that of C{user}, or else the server's
        own.
    @ivar umask: file mode creation mask, or L{None} for the server's own.
    @ivar nice: added to the server's niceness (nice(1)), or L{None}.
    @ivar inherited: further descriptors that the process gets: its number for each, from 4 on, and ours. They are
        ours to close when it has been started.
    @ivar notify: whether descriptor 3 of the process is a pipe on which it writes a newline when it is ready.
    """

    argv: tuple[str, ...]
    directory: str
    environment: tuple[tuple[str, str], ...]
    user: str | None = None
    group: str | None = None
    umask: int | None = None
    nice: int | None = None
    limits: ProcessLimits = field(factory=ProcessLimits)
    notify: bool = False
    inherited: tuple[tuple[int, int], ...] = ()


@frozen
class Tools:
    """Absolute paths of the programs that prepare a process (util-linux, coreutils and a POSIX shell)."""

    setsid: str = "/usr/bin/setsid"
    env: str = "/usr/bin/env"
    sh: str = "/bin/sh"
    nice: str = "/usr/bin/nice"
    prlimit: str = "/usr/bin/prlimit"
    setpriv: str = "/usr/bin/setpriv"


@frozen
class Identity:
    """
    Who a process is to be, looked up already.

    @ivar uid: the user, or L{None} for the server's own.
    @ivar gid: the primary group.
    @ivar known: whether the user stands in the user database, so that its further groups can be looked up.
    """

    uid: int | None
    gid: int
    known: bool = True


def command_line(spec: ProcessSpec, privileged: bool, tools: Tools, identity: Identity | None = None) -> list[str]:
    """
    The chain of programs that ends as the worker.

    C{env} needs no guard against assignments in what follows it: that is always the absolute path of a tool.
    C{setpriv} comes last, because what is before it may need the rights that it gives up. The signal at the
    parent's death (PR_SET_PDEATHSIG, prctl(2)) is set after the user, a change of which would clear it;
    setpriv takes care of that order.

    @param privileged: whether the server may become another user.
    @param identity: who to be; L{None} for the server's own user and groups.
    @raise SpawnFault: somebody else is asked for and the server may not, or there is nothing to run.
    """
    if not spec.argv or not spec.argv[0]:
        raise SpawnFault("there is no program to run", "name one in run")
    if identity is not None and not privileged:
        asked = f"user {spec.user}" if spec.user is not None else f"group {spec.group}"
        raise SpawnFault(
            f"only root may start a process as {asked}",
            "start tqserver as root, or take user and group out of worker.yaml",
        )
    chain = [tools.setsid, tools.env, f"--chdir={spec.directory}"]
    if spec.umask is not None:
        # The mask is our own number, in octal digits: nothing that a shell could take for something else.
        chain += [tools.sh, "-c", f'umask {spec.umask:04o} && exec "$@"', "sh"]
    if spec.nice is not None:
        chain += [tools.nice, "-n", str(spec.nice)]
    chain += _limits(spec.limits, tools)
    chain += [tools.setpriv]
    if identity is not None:
        chain += _identity(identity)
    return [*chain, "--pdeathsig", "KILL", "--", *spec.argv]


def _limits(limits: ProcessLimits, tools: Tools) -> list[str]:
    """The part of the chain that sets resource limits, soft and hard alike; empty if there are none."""
    given = (
        ("--nofile", limits.open_files),
        ("--nproc", limits.processes),
        ("--as", limits.address_space_bytes),
    )
    options = [f"{option}={value}" for option, value in given if value is not None]
    return [tools.prlimit, *options] if options else []


def _identity(identity: Identity) -> list[str]:
    """The options of setpriv(1) that change who the process is."""
    options = [] if identity.uid is None else ["--reuid", str(identity.uid)]
    options += ["--regid", str(identity.gid)]
    # setpriv insists on being told about the further groups; a user without an entry has none.
    return [*options, "--init-groups" if identity.uid is not None and identity.known else "--clear-groups"]


def worker_environment(
    own: Mapping[str, str],
    listed: Iterable[tuple[str, str]] = (),
    inherit: bool = False,
    home: str | None = None,
) -> tuple[tuple[str, str], ...]:
    """
    The environment of a worker, without what tells it its port and name.

    @param own: the server's environment.
    @param listed: C{environment} of worker.yaml; wins over everything.
    @param inherit: C{inherit_environment} of worker.yaml: pass on all of C{own}.
    @param home: home directory of the user that the worker runs as, if that is not the server's.
    @return: sorted pairs, ready for L{ProcessSpec.environment} after the variables of the contract were
        added.
    """
    names = list(own) if inherit else [name for name in PASSED_ON if name in own]
    environment = {name: own[name] for name in names}
    if home is not None:
        environment["HOME"] = home
    environment.setdefault("PATH", PATH_DEFAULT)
    environment.update(listed)
    return tuple(sorted(environment.items()))
