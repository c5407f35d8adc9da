"""
HTTP/1.1, one connection at a time, on each side, as plain Twisted protocols on top of httptools.

L{head} is one request's or one response's head as a value, L{strict} what we refuse besides what the parser refuses,
L{hop} what stays between two neighbours. L{wire} tells where one request ends and the next begins, L{chunked} reads
bodies in chunks; L{reading} and L{server} are a client's connection to us, L{exchange} one request on it and L{factory}
all such connections together; L{client} is our connection to a worker, L{answer_start} how its answers may begin,
L{answer_field} what becomes of their fields, L{receiver} who is told, L{idle} those that wait for their next request.
L{upgrade} says which other protocols may follow, L{switching} has a worker choose one, and L{handover} gives the
connections away then. L{outbox} gathers what is written in one turn, L{sweep} looks after everybody's deadlines,
L{progress} asks a transport whether its peer reads.
"""
