"""What a front knows and counts of the endpoints of one worker."""

from __future__ import annotations

from attrs import define, field

from ..plane.messages import Endpoint, EndpointLoad, FailureKind, OutlierRule
from .breaker import GOOD, Breaker, ejected_max


@define(eq=False)
class EndpointState:
    """
    One endpoint in use.

    @ivar in_flight: exchanges in hand.
    @ivar answered: responses whose head came from it.
    @ivar failed: exchanges that it broke.
    @ivar blocked_until: by the reactor's clock; before that it is not asked. L{GOOD} while nothing is wrong with it.
    @ivar breaker: what is remembered since something went wrong; L{None} while nothing has.
    @ivar retired: no L{Routing<tqserver.plane.messages.Routing>} holds it any more.
    """

    spec: Endpoint
    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    blocked_until: float = GOOD
    breaker: Breaker | None = None
    retired: bool = False

    @property
    def id(self) -> str:
        """The instance's name."""
        return self.spec.id

    @property
    def ejected(self) -> bool:
        """Whether it is left alone because too much went wrong, or is only being tried."""
        return self.breaker is not None and self.breaker.out

    def load(self) -> EndpointLoad:
        """The counts, as a message."""
        return EndpointLoad(
            id=self.spec.id,
            in_flight=self.in_flight,
            answered=self.answered,
            failed=self.failed,
            ejected=self.ejected,
        )

    def free(self, now: float) -> bool:
        """Whether it can take one more exchange."""
        limit = self.spec.concurrency_max
        return (not limit or self.in_flight < limit) and self.blocked_until <= now

    def begun(self, now: float) -> None:
        """An exchange is given to it. Need be told only while C{blocked_until} is not L{GOOD}."""
        if self.breaker is not None:
            self.breaker.begun(now)
            self.blocked_until = self.breaker.blocked_until

    def went_well(self, now: float, began: float) -> None:
        """
        An exchange that began then was answered. Need be told only while there is a C{breaker}.
        """
        if self.breaker is not None:
            self.breaker.answered(now, began)
            self._follow(self.breaker)

    def rest(self, now: float) -> None:
        """Leave it alone for a moment: we cannot connect, for a reason of our own."""
        breaker = self._broken()
        breaker.rest(now)
        self.blocked_until = breaker.blocked_until

    def release(self) -> None:
        """It is needed, ejected or not."""
        if self.breaker is not None:
            self.breaker.release()
            self._follow(self.breaker)

    def went_wrong(
        self, now: float, began: float, kind: FailureKind, rule: OutlierRule, spare: bool, chance: float
    ) -> bool:
        """See L{Breaker.failed}."""
        breaker = self._broken()
        ejected = breaker.failed(now, began, kind, rule, spare, chance)
        self._follow(breaker)
        return ejected

    def _broken(self) -> Breaker:
        if self.breaker is None:
            self.breaker = Breaker()
        return self.breaker

    def _follow(self, breaker: Breaker) -> None:
        self.blocked_until = breaker.blocked_until
        if breaker.forgettable:
            self.breaker = None


@define
class EndpointSet:
    """
    The endpoints of one worker.

    @ivar current: those of the latest routing.
    @ivar leaving: those that were taken away and still have exchanges in hand, by id.
    @ivar ejections: how often one was ejected.
    """

    current: list[EndpointState] = field(factory=list)
    leaving: dict[str, EndpointState] = field(factory=dict)
    ejections: int = 0

    def find(self, endpoint_id: str) -> EndpointState | None:
        """One of them, of the latest routing or not."""
        return next((state for state in self.current if state.id == endpoint_id), self.leaving.get(endpoint_id))

    def update(self, specs: tuple[Endpoint, ...]) -> list[EndpointState]:
        """
        Take over a new routing.

        @return: the endpoints that it took away.
        """
        known = {state.id: state for state in self.current}
        current: list[EndpointState] = []
        for spec in specs:
            state = known.pop(spec.id, None) or self.leaving.pop(spec.id, None)
            if state is None:
                state = EndpointState(spec)
            state.spec = spec
            state.retired = False
            current.append(state)
        for state in known.values():
            state.retired = True
            self.leaving[state.id] = state
        self.current = current
        return list(known.values())

    def available(self, now: float) -> list[EndpointState]:
        """Those that can take one more exchange."""
        return [state for state in self.current if state.free(now)]

    @property
    def ejected(self) -> list[EndpointState]:
        """Those that are left alone because too much went wrong."""
        return [state for state in self.current if state.ejected]

    def went_wrong(
        self, state: EndpointState, now: float, began: float, kind: FailureKind, rule: OutlierRule, chance: float
    ) -> None:
        """
        An exchange on one of them went wrong.

        @param began: when it was given to the endpoint.
        @param chance: a random number from [0, 1).
        """
        spare = not state.retired and len(self.ejected) < ejected_max(len(self.current), rule)
        if state.went_wrong(now, began, kind, rule, spare, chance):
            self.ejections += 1

    def keep_enough(self, rule: OutlierRule) -> None:
        """The endpoints or the rule are others now: no more of them may be left alone than it allows."""
        ejected = sorted(self.ejected, key=lambda state: state.blocked_until)
        limit = ejected_max(len(self.current), rule) if rule.failures else 0
        for state in ejected[: max(0, len(ejected) - limit)]:
            state.release()

    def next_change(self, now: float) -> float | None:
        """When one that is blocked may be asked again; L{None} if none is."""
        return min((state.blocked_until for state in self.current if state.blocked_until > now), default=None)
