"""
Processes of the operating system: started, watched, asked, measured and ended.

Everything that is special about a child process is in here, so that the supervisor can think in instances:
the chain of programs that prepares it (L{spec<tqserver.process.spec>}), its group, its output in bounded
lines, the port it listens on, whether it is well, what it uses. And none may outlive the server, whatever
happens to that: the L{guard<tqserver.process.guard>} is a process for this alone.
"""

from .guard import Guard
from .interfaces import Exit, IProbe, IProcessObserver, IRunningProcess, ISpawner, ProbeFault, Stream
from .ports import PortPool, PortsExhausted
from .probes import make_probe
from .spawn import Spawner
from .spec import Address, ProcessSpec, SpawnFault, worker_environment
from .usage import Usage, measure

__all__ = [
    "Address",
    "Exit",
    "Guard",
    "IProbe",
    "IProcessObserver",
    "IRunningProcess",
    "ISpawner",
    "PortPool",
    "PortsExhausted",
    "ProbeFault",
    "ProcessSpec",
    "SpawnFault",
    "Spawner",
    "Stream",
    "Usage",
    "make_probe",
    "measure",
    "worker_environment",
]
