"""
Cron expressions: five fields, or six of which the first is the second, or a word for usual ones. Pure.
"""

from __future__ import annotations

from datetime import datetime, timezone

from cronsim import CronSim, CronSimError

WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""What crontab(5) knows words for; C{@reboot} is no time."""


def cron_fields(cron: str) -> str:
    """The fields that a word stands for; fields are themselves."""
    return WORDS.get(cron.lower(), cron)


def cron_mistake(cron: str) -> str:
    """
    What is wrong with an expression.

    @return: empty if nothing is.
    """
    if cron.startswith("@") and cron.lower() not in WORDS:
        return f"is none of {', '.join(WORDS)}"
    try:
        next(CronSim(cron_fields(cron), datetime(2024, 1, 1, tzinfo=timezone.utc)))
    except CronSimError as error:
        return f"means no times: {str(error)[:1].lower()}{str(error)[1:]}"
    except (StopIteration, ValueError, OverflowError):
        return "never comes"
    return ""
