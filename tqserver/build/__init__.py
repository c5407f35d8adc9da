"""
From a worker's sources to something that can be run, beside what runs already.

L{Builds} is asked for a build of a worker, and gives a L{Build} or a L{BuildFault}; nothing else of this
package is needed by others. A build is named by the fingerprint of the sources (L{fingerprint}), so that
what was built once is not built again, even by a server that was started anew. There is a builder for each
type of worker (L{go}, L{bun}, L{php}, L{python}, L{command}), which decides what is to be run; L{builds}
runs it: a few at once, for a limited time, with limited output, and never two for one worker.
"""

from .builds import Builds
from .model import Build, BuildFault, BuildState, FaultKind

__all__ = ["Build", "BuildFault", "BuildState", "Builds", "FaultKind"]
