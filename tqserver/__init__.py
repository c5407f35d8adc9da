"""
An application server and process supervisor: it builds, starts, watches over, routes to and reloads small
applications ("workers") in any language, and loses no request while doing so.

Two planes meet only in frozen messages (L{tqserver.plane}): the supervisor owns files, builds and processes and
never touches a client's bytes; the fronts own connections and never start, stop or signal anything.
"""

__version__ = "0.1.0"
