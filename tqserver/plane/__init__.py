"""
What the two planes say to each other, and the pipe that carries it.

The supervisor sends L{Routing<tqserver.plane.messages.Routing>}: the complete picture, versioned and idempotent, so
that a front that was just started is as good as one that has run for a year. Fronts answer with what they did and saw.
"""
