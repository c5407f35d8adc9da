"""
What a new configuration changes: which processes, which routing, and what only a restart can change. Pure.
"""

from __future__ import annotations

from hashlib import sha256

from attrs import astuple, evolve, frozen

from .model import ListenConfig, Project, ServerConfig, WorkerConfig


@frozen
class ProjectDiff:
    """
    The difference between two configurations. The tuples of names are sorted; no name is in two of them.

    @ivar added: workers that are new.
    @ivar removed: workers that are gone.
    @ivar process_changed: workers whose processes have to be new ones; their routing may have changed as
        well.
    @ivar routing_changed: workers of which only routing or supervision changed: their processes stay.
    @ivar server_changed: whether anything in C{server.yaml} changed.
    @ivar restart: keys of C{server.yaml} that changed and that only a restart of the server applies.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    process_changed: tuple[str, ...] = ()
    routing_changed: tuple[str, ...] = ()
    server_changed: bool = False
    restart: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the two configurations are the same."""
        return self == ProjectDiff()


def process_key(worker: WorkerConfig) -> str:
    """
    Name all that a worker's process is made from, as far as its configuration says.

    Two configurations with equal keys need no new process. The mode, which a process is told too, is not part
    of a worker's configuration: whoever compares across modes adds it. Where it is open whether something
    reaches the process it counts: a swap too many costs nothing that a client sees, one too few leaves the
    old setting at work.

    @return: 16 hexadecimal digits, the same in every run.
    """
    process = worker.process
    parts: list[object] = [
        worker.name,
        worker.directory,
        worker.type,
        worker.build,
        worker.run,
        worker.listen,
        worker.route,
        # Descriptor 3 is handed over when the process is made.
        worker.health.type == "notify",
        process.user,
        process.group,
        process.umask,
        process.nice,
        process.limits,
        process.environment,
        process.inherit_environment,
    ]
    # The sections of other types may be in the file; they reach nobody.
    if worker.type == "go":
        parts.append(worker.go)
    elif worker.type == "bun":
        parts.append(worker.bun)
    elif worker.type == "python":
        parts.append(worker.python)
    elif worker.type == "php":
        parts.append(worker.php)
    elif worker.queue is not None:
        # All of it, also what is not to be seen in logs.
        parts.append(astuple(worker.queue))
    return sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def restart_keys(old: ServerConfig, new: ServerConfig) -> tuple[str, ...]:
    """
    Name the keys that changed and that a running server cannot apply.

    Listening sockets are opened before the server may have given up its rights, and every front inherits
    them; the directory of the lock, and the socket that operators are connected to, stay for a server's life.

    @return: dotted keys of C{server.yaml}, sorted.
    """
    keys: set[str] = set()
    if old.project != new.project:
        keys.add("project")
    if old.admin_socket != new.admin_socket:
        keys.add("admin.socket")
    if old.http.fronts != new.http.fronts:
        keys.add("server.fronts")
    if old.http.listen != new.http.listen:
        before, after = _single(old), _single(new)
        if before is None or after is None:
            keys.add("server.listen")
        else:
            if before.address != after.address:
                keys.add("server.host")
            if before.port != after.port:
                keys.add("server.port")
    return tuple(sorted(keys))


def _single(server: ServerConfig) -> ListenConfig | None:
    """The only listener, if it is one that C{server.host} and C{server.port} could have said."""
    if len(server.http.listen) != 1:
        return None
    listen = server.http.listen[0]
    return None if listen.unix is not None or listen.proxy_protocol else listen


def compare(old: Project, new: Project) -> ProjectDiff:
    """
    Tell what changes from one configuration to the next.

    Workers that are broken count as not there. Where a broken file should change nothing, use L{carry_over}
    first.
    """
    before = {worker.name: worker for worker in old.workers}
    after = {worker.name: worker for worker in new.workers}
    # Every process is told the mode when it is made.
    mode_changed = old.server.mode != new.server.mode
    process: list[str] = []
    routing: list[str] = []
    for name in sorted(before.keys() & after.keys()):
        if mode_changed or process_key(before[name]) != process_key(after[name]):
            process.append(name)
        elif before[name] != after[name]:
            routing.append(name)
    return ProjectDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        process_changed=tuple(process),
        routing_changed=tuple(routing),
        server_changed=old.server != new.server,
        restart=restart_keys(old.server, new.server),
    )


def carry_over(old: Project, new: Project) -> Project:
    """
    Keep the last good configuration of workers whose file cannot be used any more.

    At a reload a file that does not validate changes nothing. The worker stays in C{broken} too, so that
    status can say why its file is not applied. It is not kept if by now another worker has one of its routes.

    @param old: what the server works by.
    @param new: what the files say now.
    @return: what the server should work by.
    """
    broken = {worker.name for worker in new.broken}
    taken = {(route.host, route.prefix) for worker in new.workers if worker.enabled for route in worker.routes}
    kept = [
        worker
        for worker in old.workers
        if worker.name in broken
        and not (worker.enabled and any((route.host, route.prefix) in taken for route in worker.routes))
    ]
    if not kept:
        return new
    return evolve(new, workers=tuple(sorted((*new.workers, *kept), key=lambda worker: worker.name)))
