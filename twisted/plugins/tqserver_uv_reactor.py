"""Makes the uv reactor known to Twisted's plugin system: C{twistd --reactor=uv}."""

from twisted.application.reactors import Reactor

uv = Reactor("uv", "tqserver.uv.reactor", "TCP and UNIX streams natively on uvloop, everything else on asyncio.")
