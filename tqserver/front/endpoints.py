"""What a front knows and counts of the endpoints of one worker."""

from __future__ import annotations

from attrs import define, field

from ..plane.messages import Endpoint

SUSPECT_S = 0.25
"""An endpoint that refused a connection is left alone so long, or until the supervisor takes it away."""


@define(eq=False)
class EndpointState:
    """
    One endpoint in use.

    @ivar in_flight: exchanges in hand.
    @ivar answered: responses whose head came from it.
    @ivar failed: exchanges that it broke.
    @ivar suspect_until: by the reactor's clock; before that it is not asked.
    @ivar retired: no L{Routing<tqserver.plane.messages.Routing>} holds it any more.
    """

    spec: Endpoint
    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    suspect_until: float = 0.0
    retired: bool = False

    @property
    def id(self) -> str:
        """The instance's name."""
        return self.spec.id

    def free(self, now: float) -> bool:
        """Whether it can take one more exchange."""
        limit = self.spec.concurrency_max
        return (not limit or self.in_flight < limit) and self.suspect_until <= now


@define
class EndpointSet:
    """
    The endpoints of one worker.

    @ivar current: those of the latest routing.
    @ivar leaving: those that were taken away and still have exchanges in hand, by id.
    """

    current: list[EndpointState] = field(factory=list)
    leaving: dict[str, EndpointState] = field(factory=dict)

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
