"""
The control plane: what should run, what does run, and the steps from one to the other.

Any news (a saved file, a new configuration, a death, a probe, a load, a timer) wakes one loop. It reads what is there
as frozen values, asks the pure L{plan} for the L{changes}, carries them out, and publishes one
L{Routing<tqserver.plane.messages.Routing>} if the picture for the fronts has changed. Nothing is done piecemeal, so
two runs with nothing new change nothing.

A L{slot} keeps one instance of one generation alive; an L{instance<instance_machine>} is one process from its start to
its last trace. Replacement is always the same: new slots are started beside the old ones, and when enough of them are
ready the old ones are retired, whatever the reason was: a save, a configuration, an age, a command.

L{service} composes all this; whoever builds the server needs only L{Supervisor<service.Supervisor>} and the
interfaces of L{interfaces}.
"""
