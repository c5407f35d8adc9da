"""
The dashboard: one page, its script and its style, and the L{API<tqserver.admin.api>} below C{/api}, for whom the
L{gate<tqserver.admin.gate>} lets in. The fronts pass on what they are asked below C{/_tq}.

The page is whole as the server sends it; the script keeps it up to date.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template
from typing import cast

from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from ..plane.status import ServerStatus, WorkerStatus
from .api import Api, problem
from .document import Document, quiet_site
from .gate import MARK, Asker, refusal
from .interfaces import IControl

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Whatever a worker prints can do nothing, even if it were ever taken for markup."""

_ASSETS = files("tqserver.admin") / "assets"
_KINDS = {"dashboard.css": b"text/css; charset=utf-8", "dashboard.js": b"text/javascript; charset=utf-8"}

COMMANDS = (("restart", "Restart"), ("build", "Build"), ("stop", "Stop"), ("start", "Start"), ("release", "Try again"))
"""What has a button."""


def dashboard_site(control: IControl, api: Api) -> Site:
    """Make the site."""
    template = Template((_ASSETS / "dashboard.html").read_text("utf-8"))

    def page(request: HTTPRequest) -> bytes:
        return template.substitute(facts(control.status())).encode("utf-8", "replace")

    root, assets = Resource(), Resource()
    root.putChild(b"", Document(b"text/html; charset=utf-8", page))
    root.putChild(b"assets", assets)
    root.putChild(b"api", cast(Resource, api.resource()))
    for name, kind in _KINDS.items():
        assets.putChild(name.encode(), _asset(name, kind))
    return quiet_site(_Gate(root))


def _asset(name: str, kind: bytes) -> Document:
    """A file that comes with the server."""
    content = (_ASSETS / name).read_bytes()
    return Document(kind, lambda request: content)


class _Gate(Resource):
    """Lets nobody through whom the gate refuses."""

    def __init__(self, inside: Resource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inside = inside

    def getChildWithDefault(self, name: bytes, request: Request) -> IResource:
        """The document, or why not."""

        def told(header: str) -> str:
            return (request.getHeader(header) or "").strip()

        asker = Asker(
            method=request.method.decode("latin-1"),
            host=told("host"),
            forwarded_for=told("x-forwarded-for"),
            origin=told("origin"),
            site=told("sec-fetch-site"),
            mark=told(MARK),
        )
        request.setHeader(b"content-security-policy", POLICY)
        request.setHeader(b"referrer-policy", b"no-referrer")
        request.setHeader(b"x-content-type-options", b"nosniff")
        request.setHeader(b"cross-origin-resource-policy", b"same-origin")
        reason = refusal(asker)
        if reason:
            return _Refused(reason)
        return cast(IResource, self._inside.getChildWithDefault(name, request))


class _Refused(Resource):
    """Says why."""

    isLeaf = True

    def __init__(self, reason: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reason = reason

    def render(self, request: Request) -> bytes:
        return problem(request, 403, self._reason, "on the machine itself: http://localhost:PORT/_tq/")


def facts(status: ServerStatus) -> dict[str, str]:
    """What the page is filled with, as markup. Pure."""
    return {
        "mode": escape(status.mode),
        "version": escape(status.version),
        "problems": "".join(f"<li>{escape(problem)}</li>" for problem in status.config.problems),
        "workers": "\n".join(_worker(worker) for worker in status.workers),
        "none": "" if status.workers else "<p class=none>There are no workers yet. Make a folder in workers/.</p>",
    }


def _worker(worker: WorkerStatus) -> str:
    """One worker, as an article whose parts the script knows by their names."""
    name = escape(worker.name)
    buttons = "".join(
        f'<button type=button data-command="{command}" aria-label="{label} {name}">{label}</button>'
        for command, label in COMMANDS
    )
    lines = escape("\n".join(worker.build.output)) if worker.build.state == "failed" else ""
    return f"""\
<article data-worker="{name}" data-state="{escape(worker.state)}">
<h2><a href="{escape(worker.route)}">{name}</a> <small>{escape(worker.type)} · {escape(worker.route)}</small></h2>
<p class=state><b data-is=state>{escape(worker.state)}</b> <span data-is=instances>{_instances(worker)}</span></p>
<p class=reason data-is=reason>{escape(worker.reason)}</p>
<p class=remedy data-is=remedy>{escape(worker.remedy)}</p>
<dl>
<div><dt>Requests</dt><dd data-is=requests>{worker.requests}</dd></div>
<div><dt>Errors</dt><dd data-is=errors>{worker.errors}</dd></div>
<div><dt>99 % within</dt><dd data-is=p99>{milliseconds(worker.p99_s)}</dd></div>
<div><dt>Memory</dt><dd data-is=memory>{mebibytes(sum(instance.memory for instance in worker.instances))}</dd></div>
</dl>
<svg class=spark data-is=spark viewBox="0 0 60 16" preserveAspectRatio="none" role=img
  aria-label="Requests per second of the last minute"><polyline points=""/></svg>
<p class=buttons>{buttons}</p>
<pre class=output data-is=output tabindex=0 aria-label="Build output of {name}">
{lines}</pre>
</article>"""


def _instances(worker: WorkerStatus) -> str:
    count = sum(instance.state == "healthy" for instance in worker.instances)
    return f"{count} of {worker.wanted} instances" if worker.wanted else ""


def milliseconds(seconds: float) -> str:
    """A duration as the page has it."""
    return f"{seconds * 1000:.3g} ms" if seconds else "-"


def mebibytes(count: int) -> str:
    """A size as the page has it."""
    return f"{count / 2**20:.0f} MiB" if count else "-"
