"""
What an operator can ask a running server, over a UNIX socket that only the server's own user may open.

It speaks HTTP, so that C{curl --unix-socket var/admin.sock http://tqserver/status} is all that is needed.
"""
