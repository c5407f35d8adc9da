"""
Loaded by Python itself in every process of the server that is profiled, since this folder is on its path then: in a
front, a timer looks which Python function is at work, and the counts are written when the process ends.

The timer counts CPU time, so that a front that waits is not looked at. What a function calls in C is its own.
"""

import os
import sys

FOLDER = os.environ.get("TQSERVER_BENCH_SAMPLES", "")
EVERY_S = 0.001

if FOLDER and "tqserver.front" in sys.orig_argv:
    import atexit
    import json
    import signal
    from types import FrameType

    at_work: dict[str, int] = {}
    under_way: dict[str, int] = {}

    def _name(frame: FrameType) -> str:
        code = frame.f_code
        # From the package on, without the folders before it.
        path = code.co_filename.rpartition("site-packages/")[2].rpartition("/tqserver/")[2]
        return f"{path}:{code.co_firstlineno} {code.co_name}"

    def _look(number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(_name(frame))
            frame = frame.f_back
        if not stack or any(name.startswith("<frozen importlib") for name in stack):
            return  # it only starts
        at_work[stack[0]] = at_work.get(stack[0], 0) + 1
        for name in set(stack):
            under_way[name] = under_way.get(name, 0) + 1

    def _write() -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        with open(os.path.join(FOLDER, f"{os.getpid()}.samples"), "w", encoding="utf-8") as file:
            json.dump({"at_work": at_work, "under_way": under_way}, file)

    atexit.register(_write)
    signal.signal(signal.SIGPROF, _look)
    signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
