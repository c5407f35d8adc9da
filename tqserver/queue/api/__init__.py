"""
What queues are asked over HTTP, and how they answer.

A service is a L{table<tqserver.queue.api.routes>} of paths and methods, each with a function that takes a
L{Call<tqserver.queue.api.call.Call>} and gives an L{answer<tqserver.queue.api.answer>}, now or later. An
L{Api<tqserver.queue.api.frame.Api>} does everything around that, once for all services: it finds the function, reads
the body within its limit, answers faults in the shape of the service, and drops what a client that has left was waiting
for. Whoever makes a service raises a L{ClientFault<tqserver.errors.ClientFault>} for what the client did wrong, and is
done.
"""

from .answer import Answer, json_answer, json_error, plain_answer, plain_error
from .call import Call
from .frame import Api
from .routes import Act, Row

__all__ = ["Act", "Answer", "Api", "Call", "Row", "json_answer", "json_error", "plain_answer", "plain_error"]
