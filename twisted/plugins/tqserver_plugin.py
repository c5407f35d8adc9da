"""Makes C{twistd tqserver} known to Twisted's plugin system."""

from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "tqserver",
    "tqserver.tap",
    "Application server and process supervisor for workers in Go, PHP, TypeScript, Python or anything else.",
    "tqserver",
)
