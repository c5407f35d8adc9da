"""
A headless Chromium, driven over the DevTools protocol on a pair of pipes: messages are JSON, each ends with a NUL.

    browser = Browser()
    page = browser.open("http://127.0.0.1:8080/")
    page.wait("document.querySelector('h1')?.textContent == 'Hello'")
    page.screenshot("hello.png")
    browser.close()

Test cases get theirs from L{BrowserCase.browse}, which skips a test where there is no Chromium.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any
from unittest import SkipTest

from tests.functional.running import LIMIT_S, RunningCase

START_S = 60.0
"""How long Chromium may take to start: it is large, and the first time it is read from the disk."""

CALL_S = 60.0
"""How long it may take to answer one call."""

TOLD_MAX = 1000
"""Events of a page that are kept: console, exceptions, what policies refused."""

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""A screenshot of a long page is some megabytes."""

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

_FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--disable-features=Translate,MediaRouter,OptimizationHints",
    "--mute-audio",
    # Nothing is asked of anybody but this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1",
)


class Failed(Exception):
    """Chromium refused a call, a script of the page raised, or Chromium is gone."""


def chromium() -> str | None:
    """Where Chromium is; L{None} if it is nowhere."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Browser:
    """One Chromium with a profile of its own, which nobody sees."""

    def __init__(self, program: str | None = None) -> None:
        program = program or chromium()
        if program is None:
            raise Failed("there is no chromium")
        self._profile = tempfile.mkdtemp(prefix="tqserver-chromium-")
        arguments = [program, *_FLAGS, f"--user-data-dir={self._profile}"]
        if os.getuid() == 0:
            arguments.append("--no-sandbox")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        log = os.open(f"{self._profile}/chromium.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        # Its ends of the pipes must be 3 and 4, which may be in use by us: first out of the way, then into place.
        parked = [_high(fd) for fd in (theirs_in, theirs_out)]
        actions = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
            (os.POSIX_SPAWN_DUP2, parked[0], 3),
            (os.POSIX_SPAWN_DUP2, parked[1], 4),
        ]
        try:
            self.pid = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setsid=True)
        finally:
            for fd in (theirs_in, theirs_out, log, null, *parked):
                os.close(fd)
        self._serial = 0
        self._buffer = bytearray()
        self._answers: dict[int, dict[str, Any]] = {}
        self._pages: dict[str, Page] = {}
        self._closed = False
        try:
            self.version: str = self.call("Browser.getVersion", limit_s=START_S)["product"]
        except BaseException:
            self.close()
            raise

    def open(self, url: str = "about:blank", *, width: int = 1280, height: int = 800) -> Page:
        """A new window with a page of its own, loaded as far as C{load} if it comes that far in time."""
        made = self.call("Target.createTarget", {"url": "about:blank", "newWindow": True})
        session = self.call("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, made["targetId"], session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.viewport(width, height)
        if url != "about:blank":
            page.go(url)
        return page

    def call(
        self, method: str, parameters: dict[str, Any] | None = None, session: str = "", limit_s: float = CALL_S
    ) -> dict[str, Any]:
        """
        One call of the protocol.

        @raise Failed: it was refused, or not answered in time.
        """
        self._serial += 1
        serial = self._serial
        message: dict[str, Any] = {"id": serial, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        data = memoryview(json.dumps(message).encode() + b"\0")
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError as error:
            raise Failed(f"{method}: {error}") from error
        end = time.monotonic() + limit_s
        while serial not in self._answers:
            if not self._read(end):
                raise Failed(f"{method}: no answer within {limit_s:g} s")
        answer = self._answers.pop(serial)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error'].get('message')}")
        result: dict[str, Any] = answer["result"]
        return result

    def listen(self, seconds: float) -> None:
        """Take in what Chromium tells by itself: until something comes, or for so long."""
        self._read(time.monotonic() + seconds)

    def _read(self, end: float) -> bool:
        """Take in some messages; false if there were none in time."""
        ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return False
        data = os.read(self._in, 256 * 1024)
        if not data:
            raise Failed("chromium is gone: " + self.output()[-2000:])
        self._buffer += data
        assert len(self._buffer) <= MESSAGE_BYTES_MAX
        *messages, rest = self._buffer.split(b"\0")
        self._buffer = bytearray(rest)
        for text in messages:
            message = json.loads(text)
            if "id" in message:
                self._answers[message["id"]] = message
            elif message.get("sessionId") in self._pages:
                self._pages[message["sessionId"]].told(message["method"], message["params"])
        return True

    def output(self) -> str:
        """What Chromium has printed."""
        return (Path(self._profile) / "chromium.out").read_text(errors="replace")

    def close(self) -> None:
        """End it and all its processes, and remove its profile."""
        if self._closed:
            return
        self._closed = True
        for fd in (self._out, self._in):
            os.close(fd)
        # That its pipe is closed ends it; whoever does not believe it is made to.
        end = time.monotonic() + 2.0
        gone = False
        while not gone and time.monotonic() < end:
            gone = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
            if not gone:
                time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if not gone:
            os.waitpid(self.pid, 0)
        shutil.rmtree(self._profile, ignore_errors=True)


class Page:
    """
    One page.

    @ivar console: what it said on its console, and what its policies refused, as text.
    @ivar exceptions: what its scripts raised and nobody caught.
    @ivar responses: C{(URL, status, header fields)} of each response that it got.
    @ivar loads: documents that were loaded to their end in its main frame.
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser = browser
        self.console: deque[str] = deque(maxlen=TOLD_MAX)
        self.exceptions: deque[str] = deque(maxlen=TOLD_MAX)
        self.responses: deque[tuple[str, int, dict[str, str]]] = deque(maxlen=TOLD_MAX)
        self.loads = 0
        self._target = target
        self._session = session

    def call(self, method: str, parameters: dict[str, Any] | None = None, limit_s: float = CALL_S) -> dict[str, Any]:
        """One call of the protocol, about this page."""
        return self.browser.call(method, parameters, self._session, limit_s)

    def told(self, method: str, told: dict[str, Any]) -> None:
        """Something has happened on the page."""
        if method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value", a.get("description", ""))) for a in told["args"]))
        elif method == "Log.entryAdded":
            self.console.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.exceptions.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Network.responseReceived":
            response = told["response"]
            fields = {name.lower(): value for name, value in response["headers"].items()}
            self.responses.append((response["url"], response["status"], fields))
        elif method == "Page.loadEventFired":
            self.loads += 1

    def go(self, url: str, limit_s: float = LIMIT_S) -> None:
        """Go somewhere, and wait until that has loaded."""
        loads = self.loads
        gone = self.call("Page.navigate", {"url": url})
        if gone.get("errorText"):
            raise Failed(f"{url}: {gone['errorText']}")
        if "loaderId" not in gone:
            return  # Another place on the same page.
        end = time.monotonic() + limit_s
        while self.loads == loads:
            if time.monotonic() > end:
                raise Failed(f"{url} was not loaded within {limit_s:g} s")
            self.browser.listen(0.1)

    def evaluate(self, expression: str) -> Any:
        """
        What a JavaScript expression gives, as JSON would; a promise is awaited.

        @raise Failed: it raised, or the page went away meanwhile.
        """
        result = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise Failed(details.get("exception", {}).get("description") or details["text"])
        return result["result"].get("value")

    def wait(self, expression: str, limit_s: float = LIMIT_S) -> float:
        """
        Wait until a JavaScript expression is true, across loads of the page.

        @return: the seconds that it took.
        """
        began = time.monotonic()
        trouble: object = None
        while time.monotonic() - began < limit_s:
            try:
                trouble = self.evaluate(f"Boolean({expression})")
                if trouble is True:
                    return time.monotonic() - began
            except Failed as error:
                trouble = error
            self.browser.listen(0.01)
        shown = ""
        with contextlib.suppress(Failed):
            shown = str(self.evaluate("document.documentElement.outerHTML"))[:2000]
        raise Failed(f"not within {limit_s:g} s: {expression} ({trouble})\n{list(self.console)[-20:]}\n{shown}")

    def text(self, selector: str) -> str:
        """What one reads in an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Click into the middle of an element with the mouse."""
        where = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        point = {"x": where[0], "y": where[1], "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, **point})

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key, named as C{KeyboardEvent.key} names it."""
        codes = {"Escape": 27, "Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowUp": 38}
        told: dict[str, Any] = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, 0)}
        told["modifiers"] = 8 if shift else 0
        text = {"Enter": "\r", " ": " "}.get(key, key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", "text": text, **told})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **told})

    def type(self, text: str) -> None:
        """Enter text where the focus is."""
        self.call("Input.insertText", {"text": text})

    def viewport(self, width: int, height: int, *, phone: bool = False) -> None:
        """Be so many CSS pixels large; on a phone, with two pixels of the screen for one and a finger for a mouse."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", size)
        self.call("Emulation.setTouchEmulationEnabled", {"enabled": phone})

    def dark(self, dark: bool = True) -> None:
        """Whether the user likes it dark."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", {"features": [feature]})

    def screenshot(self, path: str | Path, *, whole: bool = False) -> None:
        """
        Save what one sees as a PNG.

        @param whole: the whole length of the page, not only what is in view.
        """
        shot = self.call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole})
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Close it."""
        self.browser.call("Target.closeTarget", {"targetId": self._target})


class BrowserCase(RunningCase):
    """Tests that look at pages."""

    def browse(self) -> Browser:
        """A browser of the test's own, which ends with it."""
        if chromium() is None:
            raise SkipTest("there is no chromium here")
        browser = Browser()
        self.addCleanup(browser.close)
        return browser


def _high(fd: int) -> int:
    """The same by a number above those that a new process gets its pipes by."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
