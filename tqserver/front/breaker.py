"""
Whether an endpoint is to be trusted, learnt from what becomes of the requests it is given. Pure: the time comes in.

Two things are told apart. An endpoint that I{refuses} a connection I{rests} for a moment, even if there is no other:
to ask it again at once helps nobody, and whether it has died the supervisor finds out. An endpoint that fails I{time
after time} is I{ejected}: it gets nothing for a while that grows, as long as enough others are there to take its share.
After either, one request is let through to see, and the others follow when that went well.

Nothing is kept of an endpoint that has not failed: see L{EndpointState<tqserver.front.endpoints.EndpointState>}.
"""

from __future__ import annotations

import enum

from ..backoff import backoff_s
from ..errors import ClientFault, Fault, ScarceFault, Unreachable, UpstreamFault
from ..plane.messages import FailureKind, OutlierRule

REST_S = 0.25
"""An endpoint that refused a connection is left alone so long, or until the supervisor takes it away."""

REST_TRIAL_S = 0.05
"""Who refuses does so at once: an endpoint that has rested and does not refuse again within this may be given more."""

TRIAL_S = 1.0
"""If the request that tries an ejected endpoint has gone neither well nor wrong in this time, another tries it, too."""

GOOD = 0.0
"""The C{blocked_until} of an endpoint that is trusted."""


class Standing(enum.Enum):
    """How far an endpoint is trusted."""

    TRUSTED = enum.auto()
    RESTING = enum.auto()
    """It has just refused a connection."""
    RESTED = enum.auto()
    """A request has been let through after a rest."""
    EJECTED = enum.auto()
    """It has failed too often."""
    TRIED = enum.auto()
    """A request has been let through after an ejection."""


_WHEN_BEGUN = {
    Standing.TRUSTED: Standing.TRUSTED,
    Standing.RESTING: Standing.RESTED,
    Standing.RESTED: Standing.TRUSTED,  # Nothing bad was heard of the request before.
    Standing.EJECTED: Standing.TRIED,
    Standing.TRIED: Standing.TRIED,
}
"""What becomes of a standing when a request is given to the endpoint; none is before C{blocked_until}."""

_TRIAL_S = {Standing.RESTED: REST_TRIAL_S, Standing.TRIED: TRIAL_S}

_OUT = frozenset([Standing.EJECTED, Standing.TRIED])


class Breaker:
    """
    The standing of one endpoint.

    @ivar standing: how far it is trusted.
    @ivar blocked_until: before that moment no request is given to it; L{GOOD} if it is trusted.
    @ivar failures: in a row, within the rule's window.
    @ivar ejections: times that it was ejected, without having been well for long in between.
    """

    __slots__ = ("_forgiven_at", "_since", "_window_began", "blocked_until", "ejections", "failures", "standing")

    def __init__(self) -> None:
        self.standing = Standing.TRUSTED
        self.blocked_until = GOOD
        self.failures = 0
        self.ejections = 0
        self._window_began = 0.0
        self._since = 0.0
        """When it was ejected, or when the request that tries it began."""
        self._forgiven_at = 0.0
        """If it is well until then, its ejections are forgotten."""

    @property
    def out(self) -> bool:
        """Whether it is ejected, or only being tried."""
        return self.standing in _OUT

    @property
    def forgettable(self) -> bool:
        """Whether it is as good as one that has never failed."""
        return self.standing is Standing.TRUSTED and not self.failures and not self.ejections

    def begun(self, now: float) -> None:
        """A request is given to the endpoint."""
        standing = self.standing = _WHEN_BEGUN[self.standing]
        if standing is Standing.TRUSTED:
            self.blocked_until = GOOD
        else:
            self.blocked_until = now + _TRIAL_S[standing]
            self._since = now

    def answered(self, now: float, began: float) -> None:
        """
        A request went well.

        @param began: when it was given to the endpoint: one that was already under way when the endpoint was ejected
            says nothing new.
        """
        if self.standing is Standing.EJECTED or (self.standing is Standing.TRIED and began < self._since):
            return
        if self.ejections and self.standing is Standing.TRUSTED and now >= self._forgiven_at:
            self.ejections = 0
        self.failures = 0
        self._trust()

    def _trust(self) -> None:
        self.standing = Standing.TRUSTED
        self.blocked_until = GOOD

    def failed(
        self, now: float, began: float, kind: FailureKind, rule: OutlierRule, spare: bool, chance: float
    ) -> bool:
        """
        A request went wrong.

        @param began: as in L{answered}.
        @param spare: whether the endpoint may be ejected: enough others are left.
        @param chance: a random number from [0, 1), so that all fronts do not come back at once.
        @return: whether it was ejected.
        """
        if self.standing is Standing.EJECTED or (self.standing is Standing.TRIED and began < self._since):
            return False
        counts = rule.failures > 0 and kind in rule.on
        if counts:
            if not self.failures or now - self._window_began > rule.window_s:
                self._window_began = now
                self.failures = 0
            self.failures += 1
            if self.standing is Standing.TRIED or (spare and self.failures >= rule.failures):
                self._eject(now, rule, chance)
                return True
        if kind == "connect" and self.standing is not Standing.TRIED:
            self.standing = Standing.RESTING
            self.blocked_until = now + REST_S
        return False

    def _eject(self, now: float, rule: OutlierRule, chance: float) -> None:
        if now >= self._forgiven_at:
            self.ejections = 0
        self.ejections += 1
        self.failures = 0
        self.standing = Standing.EJECTED
        self._since = now
        self.blocked_until = now + backoff_s(self.ejections, rule.eject_s, rule.eject_max_s, chance)
        self._forgiven_at = self.blocked_until + rule.eject_max_s

    def rest(self, now: float) -> None:
        """Leave the endpoint alone for a moment, for a reason that is not its own."""
        if self.standing in (Standing.TRUSTED, Standing.RESTED):
            self.standing = Standing.RESTING
            self.blocked_until = now + REST_S

    def release(self) -> None:
        """End an ejection: there are too few others. What it does next, counts from the beginning."""
        if self.out:
            self.failures = 0
            self._trust()


def ejected_max(count: int, rule: OutlierRule) -> int:
    """
    How many of a worker's endpoints may be ejected at the same time: a share, but never all of them.

    @param count: of its endpoints.
    """
    return max(0, min(count * rule.ejected_percent_max // 100, count - 1))


def failure_kind(fault: Fault) -> FailureKind | None:
    """What a fault says about the endpoint whose request it ended; L{None} if nothing."""
    if isinstance(fault, (ClientFault, ScarceFault)) or not isinstance(fault, UpstreamFault):
        return None
    if isinstance(fault, Unreachable):
        return "connect"
    return "timeout" if fault.status == 504 else "break"


def status_kind(status: int, rule: OutlierRule) -> FailureKind | None:
    """What the status of a worker's own answer says about the endpoint; L{None} unless the rule minds it."""
    if status < 500:
        return None
    if status in (502, 503, 504) and "gateway" in rule.on:
        return "gateway"
    return "5xx" if "5xx" in rule.on else None
