"""
Random requests, and random damage to them, through a real front: what the client meant and what the worker saw never
differ, and nothing reaches the worker that a strict reader would refuse.

L{tests.functional.looking} says how far it looks.
"""

from __future__ import annotations

from tests.functional import meaning
from tests.functional.looking import look
from tests.functional.mutations import CONVERSATIONS, CUTS, MUTATIONS, Meant, mutated, segments
from tests.functional.strict import Client, Ended, Note, Reply, StrictCase
from tests.functional.strict_reader import Request, read

EXAMPLES = {"meant": 150, "damaged": 700}
"""At least."""


class DifferentialTests(StrictCase):
    """The front between two strict readers."""

    def test_meant(self) -> None:
        """What a client sends in good order arrives as it was meant, however it is framed and cut."""

        def check(conversation: list[Meant], cuts: list[int]) -> None:
            data = b"".join(meant.on_the_wire() for meant in conversation)
            understood, at, why = read(data)
            self.assertEqual((len(understood), at, why), (len(conversation), len(data), ""))
            with self.client() as client:
                for segment in segments(data, cuts):
                    client.send(segment)
                for meant in conversation:
                    self.assertEqual(client.reply(meant.method).status, 200)
            notes = self.seen()
            self.assertEqual(list(map(meaning.of_note, notes)), list(map(meaning.of_meant, conversation)))

        look(EXAMPLES["meant"], {"conversation": CONVERSATIONS, "cuts": CUTS}, check)

    def test_damaged(self) -> None:
        """What was damaged on its way is refused, or is read by everybody in the same way."""

        def check(conversation: list[Meant], steps: list[tuple[str, int, object]], cuts: list[int]) -> None:
            data = mutated(b"".join(meant.on_the_wire() for meant in conversation), steps)
            self.compare(data, segments(data, cuts))

        look(EXAMPLES["damaged"], {"conversation": CONVERSATIONS, "steps": MUTATIONS, "cuts": CUTS}, check)

    def compare(self, data: bytes, pieces: list[bytes]) -> None:
        """Send some bytes, and compare what becomes of them with what a strict reader reads in them."""
        understood, _, why = read(data)
        with self.client() as client:
            for piece in pieces:
                client.send(piece)
            served = 0
            refusal: Reply | None = None
            for request in understood:
                reply = self.reply(client, request)
                if reply.status != 200:
                    refusal = reply
                    break
                served += 1
            ends = bool(understood) and understood[-1].last
            if refusal is None and why and not ends:
                refusal = self.reply(client, None)
            if refusal is not None:
                self.assertIn(refusal.status, meaning.STATUSES, refusal)
                self.assertEqual(refusal.headers.get("connection"), "close")
            if refusal is not None or ends:
                self.assertEqual(client.rest(), b"", "the connection ends")
        self.check_notes(self.seen(), understood[:served])

    def reply(self, client: Client, request: Request | None) -> Reply:
        """The next answer, which there must be."""
        try:
            return client.reply(request.method if request is not None else "GET")
        except (Ended, TimeoutError) as error:
            raise self.failureException(f"no answer to {request}: {error!r}") from error

    def check_notes(self, notes: list[Note], understood: list[Request]) -> None:
        """Check that the worker has seen these requests, in good order, and nothing else that is whole."""
        seen = []
        for note in notes:
            self.assertNotIn("refused", note)
            if "piece" in note:
                # It was broken off. What there was of it must have been well formed.
                requests, _, why = read(bytes.fromhex(note["piece"]))
                self.assertEqual((requests, why), ([], ""), note)
                continue
            self.assertRegex(bytes.fromhex(note["head"]), meaning.CANONICAL.pattern + rb"\Z")
            seen.append(note)
        self.assertEqual(list(map(meaning.of_note, seen)), list(map(meaning.of_request, understood)))
