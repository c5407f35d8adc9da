"""
Twisted's own tests of reactors, run against ours.

They are taken from the Twisted that is installed, so that ours is held to what that Twisted promises.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

from twisted.internet.test.reactormixins import ReactorBuilder
from twisted.python.reflect import prefixedMethodNames
from twisted.trial.runner import TestSuite
from twisted.trial.unittest import SynchronousTestCase

from . import making

MODULES = ("core", "fdset", "newtls", "process", "socket", "stdio", "tcp", "threads", "time", "tls", "udp", "unix")
"""The modules C{test_X} of C{twisted.internet.test} that test reactors."""

FACTORY = f"{making.__name__}.UVReactor"

TIMEOUT_S = 8
"""The longest test takes less than one."""


NO_LOG_CONTEXT = "The log context of a transport is not entered for every read: a read is one call of the protocol"

NOT_BUFFERED = "Expects the write buffer to be filled by writes that the kernel takes at once, as ours do"

NOT_LOOKED_UP = "Gives a protocol another dataReceived once it is connected: docs/uv-reactor.rst says how to do that"

NO_DESCRIPTORS = "uvloop's UNIX transports do not send descriptors; docs/uv-reactor.rst says how to get one that does"

NOT_HERE = "Fails with any reactor where the interpreter is not readable for others than root"

EXCLUDED = {
    "SSLClientTestsMixin.test_logPrefix": NO_LOG_CONTEXT,
    "StartTLSClientTestsMixin.test_logPrefix": NO_LOG_CONTEXT,
    "TCP4ClientTestsBuilder.test_logPrefix": NO_LOG_CONTEXT,
    "TCP6ClientTestsBuilder.test_logPrefix": NO_LOG_CONTEXT,
    "UNIXTestsBuilder.test_logPrefix": NO_LOG_CONTEXT,
    "test_streamingProducer": NOT_BUFFERED,
    "AdoptStreamConnectionTestsBuilder.test_writeSequeceWithoutWrite": NOT_LOOKED_UP,
    "UNIXAdoptStreamConnectionTestsBuilder.test_writeSequeceWithoutWrite": NOT_LOOKED_UP,
    "test_avoidLeakingFileDescriptors": NO_DESCRIPTORS,
    "test_descriptorDeliveredBeforeBytes": NO_DESCRIPTORS,
    "test_fileDescriptorOverrun": NO_DESCRIPTORS,
    "test_sendFileDescriptor": NO_DESCRIPTORS,
    "test_sendFileDescriptorTriggersPauseProducing": NO_DESCRIPTORS,
    "test_changeUID": NOT_HERE,
}
"""Tests, by their name or with the name of their class, and why ours need not pass them."""


def builders(module: ModuleType) -> list[type[ReactorBuilder]]:
    """
    The test cases of a module that Twisted itself runs for each reactor.
    """
    return [
        case
        for name, case in vars(module).items()
        if isinstance(case, type) and f"{name}_SelectReactorTests" in vars(module)
    ]


def reason_to_leave_out(builder: type[ReactorBuilder], name: str) -> str | None:
    """
    Why a test is excluded, or L{None} if it is not.
    """
    return EXCLUDED.get(f"{builder.__name__}.{name}") or EXCLUDED.get(name)


def testSuite() -> TestSuite:
    """
    All of them but the excluded ones; trial asks for it by this name.
    """
    suite = TestSuite()
    left_out: set[str] = set()
    for name in MODULES:
        for builder in builders(import_module(f"twisted.internet.test.test_{name}")):
            settings = {"_reactors": [FACTORY], "__module__": __name__, "timeout": TIMEOUT_S}
            ours = type(builder.__name__, (builder,), settings)
            for case in ours.makeTestCaseClasses().values():
                for test in (f"test{rest}" for rest in prefixedMethodNames(case, "test")):
                    if reason_to_leave_out(builder, test) is None:
                        suite.addTest(case(test))
                    else:
                        left_out |= {test, f"{builder.__name__}.{test}"}
    suite.addTest(ExclusionTests("test_nothing_excluded_in_vain", set(EXCLUDED) - left_out))
    return suite


class ExclusionTests(SynchronousTestCase):
    """
    The list of exclusions itself.
    """

    def __init__(self, method: str = "runTest", in_vain: Iterable[str] = ()) -> None:
        super().__init__(method)
        self._in_vain = sorted(in_vain)

    def test_nothing_excluded_in_vain(self) -> None:
        """
        Every exclusion names a test that Twisted has; one that it has no longer has to go.
        """
        self.assertEqual(self._in_vain, [])
