"""
The data plane: a process that owns client connections and worker connections, and carries requests between them.

It is a pure consumer of L{Routing<tqserver.plane.messages.Routing>}: it starts, stops and signals nothing. The seam is
the L{exchange<tqserver.front.exchange.IExchange>}: one request and its response, whoever carries it. Behind the seam
L{site} takes an exchange through route, static files, endpoint and forwarder.
"""
