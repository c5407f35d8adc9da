"""What became of the instances of a slot, and what follows from it: another try, or none. Pure."""

from __future__ import annotations

from attrs import evolve, frozen

from ..backoff import backoff_s
from ..config.model import RestartConfig

DEATHS_KEPT_MAX = 20
"""Deaths a slot remembers; more if C{restart.max_deaths} has to count more."""

OUTPUT_LINES_MAX = 50
"""Last lines of output kept with a death: a stack trace, not a log."""


@frozen(kw_only=True)
class Death:
    """
    The end of one instance that nobody had asked for.

    @ivar instance: its id.
    @ivar at: wall clock seconds.
    @ivar ended: the same moment on the reactor's monotonic clock, in seconds.
    @ivar reason: one line for a person: C{exit code 3}, C{killed by SIGKILL}, C{not ready within 5 s}.
    @ivar remedy: what would mend it; empty if there is nothing to say.
    @ivar clean: whether it ended by itself with exit code 0.
    @ivar started_up: whether it was ever ready.
    @ivar uptime_s: how long it ran after it was ready; 0 if it never was.
    @ivar output: its last lines, oldest first.
    """

    instance: str
    at: float
    ended: float
    reason: str
    remedy: str = ""
    clean: bool = False
    started_up: bool = False
    uptime_s: float = 0.0
    output: tuple[str, ...] = ()


@frozen
class History:
    """
    Deaths of one slot.

    @ivar deaths: the last ones, oldest first.
    @ivar unstable: deaths since the last run that was as long as the window; the backoff grows with it.
    @ivar failed_starts: deaths in a row that were never ready.
    @ivar total: all deaths of the slot.
    """

    deaths: tuple[Death, ...] = ()
    unstable: int = 0
    failed_starts: int = 0
    total: int = 0

    def after(self, death: Death, restart: RestartConfig) -> History:
        """The history with one more death."""
        kept = max(DEATHS_KEPT_MAX, restart.deaths_max + 1)
        stable = death.started_up and death.uptime_s >= restart.window_s
        return History(
            deaths=(*self.deaths, evolve(death, output=death.output[-OUTPUT_LINES_MAX:]))[-kept:],
            unstable=1 if stable else self.unstable + 1,
            failed_starts=0 if death.started_up else self.failed_starts + 1,
            total=self.total + 1,
        )

    @property
    def last(self) -> Death | None:
        """The latest death."""
        return self.deaths[-1] if self.deaths else None


@frozen
class Retry:
    """Start another instance after a pause, in seconds."""

    pause_s: float


@frozen
class Hold:
    """
    Start no other instance until something changes.

    @ivar reason: one line for a person.
    @ivar remedy: what an operator could do.
    """

    reason: str
    remedy: str


def consequence(history: History, restart: RestartConfig, now: float, chance: float) -> Retry | Hold:
    """
    What follows from the last death.

    Besides the deaths within the window, starts that failed one after the other count however long each took: a
    worker that needs longer than the window to fail its starts would else be tried for ever.

    @param history: with the death in question as its last.
    @param now: the reactor's monotonic clock, in seconds.
    @param chance: a random number from [0, 1).
    """
    last = history.last
    if last is None:
        return Retry(0.0)
    why = last.reason
    if restart.policy == "never":
        return Hold(f"ended ({why}), and restart.policy is never", "choose another restart.policy")
    if restart.policy == "on-failure" and last.clean:
        return Hold(f"ended ({why}), and restart.policy is on-failure", "choose another restart.policy")
    recent = sum(1 for death in history.deaths if now - death.ended < restart.window_s)
    remedy = last.remedy or "mend the worker and save it"
    if recent > restart.deaths_max:
        return Hold(f"{recent} deaths within {restart.window_s:g} s; the last: {why}", remedy)
    if history.failed_starts > restart.deaths_max:
        return Hold(f"{history.failed_starts} starts failed; the last: {why}", remedy)
    return Retry(backoff_s(history.unstable, restart.backoff_initial_s, restart.backoff_max_s, chance))
