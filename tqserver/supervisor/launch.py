"""
From a worker's configuration and build to a process at an address.

The address comes first (a port of the pool, or a socket in a private directory), then the environment of the contract,
for php the generated pool, and then the process. What fails on the way gives back what was taken.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Callable, Mapping

from twisted.logger import Logger
from zope.interface import implementer

from ..build import php_pool
from ..config.model import ServerConfig, WorkerConfig
from ..config.places import UNIX_PATH_BYTES_MAX
from ..errors import ConfigFault
from ..process.interfaces import IProbe, IProcessObserver, IRunningProcess, ISpawner
from ..process.ports import PortPool, PortsExhausted
from ..process.spec import Address, ProcessSpec, SpawnFault, worker_environment
from .interfaces import ILauncher, Launched, LaunchFault, Order
from .queue_launch import QueueLaunches

LOOPBACK = "127.0.0.1"

_log = Logger("tqserver.supervisor.launch")


def contract_environment(order: Order, address: Address, mode: str) -> tuple[tuple[str, str], ...]:
    """What a worker is told about itself, whatever its language. Pure."""
    config = order.config
    pairs = {
        "WORKER_NAME": config.name,
        "WORKER_ROUTE": config.route,
        "WORKER_PATH": config.route,
        "WORKER_TYPE": config.type,
        "WORKER_MODE": mode,
        "WORKER_INSTANCE": order.instance,
        "WORKER_GENERATION": str(order.generation),
    }
    if address.path:
        pairs["WORKER_SOCKET"] = address.path
    else:
        pairs["WORKER_PORT"] = pairs["PORT"] = str(address.port)
    if config.type == "go":
        if config.go.go_max_procs:
            pairs["GOMAXPROCS"] = str(config.go.go_max_procs)
        if config.go.go_mem_limit:
            pairs["GOMEMLIMIT"] = config.go.go_mem_limit
    return tuple(pairs.items())


def fill_in(argv: tuple[str, ...], name: str, address: Address) -> tuple[str, ...]:
    """Replace C{{port}}, C{{socket}} and C{{name}}; any other brace stays as it is. Pure."""
    values = {"{port}": str(address.port), "{socket}": address.path, "{name}": name}
    filled = []
    for argument in argv:
        for key, value in values.items():
            argument = argument.replace(key, value)
        filled.append(argument)
    return tuple(filled)


@implementer(ILauncher)
class Launcher:
    """
    Starts instances on this machine.

    @ivar server: the configuration in force; replaced by a reload.
    """

    def __init__(
        self,
        server: ServerConfig,
        spawner: ISpawner,
        ports: PortPool,
        probes: Callable[[WorkerConfig, Address], IProbe | None],
        own_environment: Mapping[str, str],
        privileged: bool,
        front: str = "",
    ) -> None:
        """
        @param probes: makes what asks an instance at an address whether it is well; L{None} if its health type has no
            questions.
        @param own_environment: the server's.
        @param privileged: whether the server may become another user.
        @param front: path of the fronts' private socket, which queues are told.
        """
        self.server = server
        self._spawner = spawner
        self._ports = ports
        self._probes = probes
        self._environment = own_environment
        self._privileged = privileged
        self._short_directories: dict[str, str] = {}
        self._queues = QueueLaunches(front, privileged)

    def launch(self, order: Order, observer: IProcessObserver) -> Launched:
        """Start an instance; see L{ILauncher}."""
        address = self._address(order)
        try:
            process = self._spawn(order, address, observer)
        except (SpawnFault, LaunchFault) as fault:
            self._give_back(address)
            raise LaunchFault(fault.reason, fault.remedy)
        except ConfigFault as fault:
            self._give_back(address)
            raise LaunchFault(str(fault), f"see {order.config.file}")
        except OSError as error:
            self._give_back(address)
            raise LaunchFault(f"cannot prepare {order.instance}: {error}", f"see to {self.server.var}/run")
        return Launched(process, address, self._probes(order.config, address))

    def clear(self, launched: Launched) -> None:
        """Give back what an instance held; see L{ILauncher}."""
        self._give_back(launched.address)

    def forget(self, name: str) -> None:
        """Give back what was kept between the instances of a worker; see L{ILauncher}."""
        self._queues.forget(name)

    def close(self) -> None:
        """Remove what was made for all instances together."""
        self._queues.close()
        for directory in self._short_directories.values():
            _remove(directory, os.rmdir)
        self._short_directories = {}

    def _address(self, order: Order) -> Address:
        """Where the instance is to listen: nobody else does, or will."""
        if order.config.listen == "unix" or order.config.type == "php":
            try:
                return Address(path=self._socket(order))
            except OSError as error:
                raise LaunchFault(f"no socket for {order.instance}: {error}", f"see to {self.server.var}")
        try:
            return Address(LOOPBACK, self._ports.lease())
        except PortsExhausted as fault:
            raise LaunchFault(fault.reason, fault.remedy)

    def _socket(self, order: Order) -> str:
        """A path for a socket in a directory that only the worker's user can enter, with nothing at it."""
        directory = f"{self.server.var}/run/{order.config.name}"
        path = f"{directory}/{order.instance}.sock"
        if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
            directory = self._short_directory(order.config.name)
            path = f"{directory}/{order.instance.removeprefix(order.config.name + '.')}.sock"
        else:
            os.makedirs(directory, exist_ok=True)
        self._make_private(directory, order.config)
        if os.path.lexists(path):
            os.unlink(path)
        return path

    def _short_directory(self, name: str) -> str:
        """A directory for a worker's sockets whose path is short, whatever the project's and the worker's are."""
        if name not in self._short_directories:
            self._short_directories[name] = tempfile.mkdtemp(prefix="tqserver-", dir="/tmp")
        return self._short_directories[name]

    def _make_private(self, directory: str, config: WorkerConfig) -> None:
        """
        Only the worker's user, and root, may look into a directory. A php-fpm master that was started by root stays
        root; its children are the worker's user, and are given an open socket.
        """
        os.chmod(directory, 0o700)
        if config.process.user is not None and self._privileged and config.type != "php":
            user = config.process.user
            try:
                entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            except KeyError:
                return  # The spawner says so, with a remedy.
            os.chown(directory, entry.pw_uid, entry.pw_gid)

    def _spawn(self, order: Order, address: Address, observer: IProcessObserver) -> IRunningProcess:
        """Start the process."""
        config = order.config
        given = worker_environment(self._environment, config.process.environment, config.process.inherit_environment)
        contract = contract_environment(order, address, self.server.mode)
        environment = dict(given)
        environment.update(order.build.environment)
        environment.update(config.process.environment)
        environment.update(contract)
        argv = fill_in(order.build.argv, config.name, address)
        given_queue = None
        if config.type == "queue":
            given_queue = self._queues.prepare(config, environment.get("PYTHONPATH", ""))
            argv, environment = given_queue.argv, {**environment, **given_queue.environment}
        user, group = config.process.user, config.process.group
        if config.type == "php":
            argv = self._write_pool(order, address, environment)
            if self._privileged:
                user = group = None  # php-fpm sees to its children's itself
        spec = ProcessSpec(
            argv=argv,
            directory=order.build.directory,
            environment=tuple(sorted(environment.items())),
            user=user,
            group=group,
            umask=config.process.umask,
            nice=config.process.nice,
            limits=config.process.limits,
            notify=config.health.type == "notify",
            inherited=given_queue.inherited if given_queue is not None else (),
        )
        try:
            return self._spawner.spawn(spec, observer)
        finally:
            if given_queue is not None:
                os.close(given_queue.written)

    def _write_pool(self, order: Order, address: Address, environment: dict[str, str]) -> tuple[str, ...]:
        """Write the configuration of a php-fpm of its own, and tell how to run that."""
        directory, file = os.path.split(_pool_path(address))
        text = php_pool.render(
            order.config,
            socket=address.path,
            environment=sorted(environment.items()),
            development=self.server.development,
            root=self._privileged,
        )
        path = php_pool.write(directory, file, text)
        return php_pool.command(order.config, order.build.argv[0], path, root=self._privileged)

    def _give_back(self, address: Address) -> None:
        """An address is not used any more."""
        if address.path:
            _remove(address.path, os.unlink)
            _remove(_pool_path(address), os.unlink)
        else:
            self._ports.release(address.port)


def _pool_path(address: Address) -> str:
    """Where the configuration of the php-fpm at this address is kept."""
    return f"{address.path.removesuffix('.sock')}.conf"


def _remove(path: str, remove: Callable[[str], None]) -> None:
    """Remove a file that may be gone already."""
    try:
        remove(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warn("cannot remove {path}: {error}", path=path, error=error)
