"""
Proof and measurement, on real processes: the ledger that accounts for every request, and the time from saving to
serving.

Everything here uses the standard library alone and blocking sockets: what measures must not share code with what is
measured.
"""
