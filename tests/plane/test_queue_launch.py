"""What a queue is told, on its way through a file without a name."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.queue_keys import SCHEDULES_MAX
from tqserver.config.queue_model import (
    ApiListen,
    ApiSettings,
    DeliverySettings,
    QueueSettings,
    ScheduleSettings,
    TqsSettings,
    ZapqSettings,
)
from tqserver.config.queue_payload import PAYLOAD_BYTES_MAX
from tqserver.plane.queue_launch import ApiListener, QueueLaunch, read_launch, write_launch


class LaunchTests(SynchronousTestCase):
    """There and back."""

    def test_all_of_it(self) -> None:
        """What the supervisor writes is what the queue reads, secrets included, and nothing stays open."""
        launch = QueueLaunch(
            settings=QueueSettings(
                apis=ApiSettings(
                    tqs=TqsSettings(api_token="0123456789", listen=ApiListen(port=5)), zapq=ZapqSettings(data="/d")
                ),
                deliver=(DeliverySettings(queue="a", to="/b"),),
                schedules=(ScheduleSettings(name="a", cron="@daily", queue="b", payload="ü"),),
            ),
            listeners=(ApiListener(api="tqs", fd=5),),
            front="/run/front.sock",
        )
        fd = write_launch(launch)
        self.assertFalse(os.get_inheritable(fd))
        self.assertEqual(read_launch(fd), launch)
        self.assertRaises(OSError, os.fstat, fd)

    def test_largest(self) -> None:
        """As many schedules as there may be, each with the largest payload (an alias can repeat it), come through."""
        payload = '"' * PAYLOAD_BYTES_MAX
        schedules = tuple(
            ScheduleSettings(name=f"s{number}", cron="@daily", queue="b", payload=payload)
            for number in range(SCHEDULES_MAX)
        )
        launch = QueueLaunch(settings=QueueSettings(schedules=schedules))
        self.assertEqual(read_launch(write_launch(launch)), launch)

    def test_something_else(self) -> None:
        """A descriptor of something else is refused."""
        reading, writing = os.pipe()
        os.write(writing, b"hello")
        os.close(writing)
        self.assertRaises(ValueError, read_launch, reading)
