"""
Durable queues: one core, and the services that speak for it.

A L{task<tqserver.queue.model.Task>} is put, becomes ready, is leased to whoever works on it, and ends. The
L{lifecycle<tqserver.queue.lifecycle>} is one table, a L{store<tqserver.queue.store.IStore>} keeps it by a dozen batch
operations, and everything else (the services, deliveries, schedules) is said in these words. A store answers when what
it answers is as durable as it was told to be: who hears that a task was put can forget it.
"""
