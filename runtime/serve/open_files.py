"""How many connections the system lets a process have."""

from __future__ import annotations

import sys

OTHERS = 192
"""Files that are open next to them: libraries, a bundle, and connections taken to be closed."""


def room_for(connections: int) -> int:
    """Return how many connections can be open, at most as many as asked for.

    The soft limit of open files is raised to what they need, up to the hard one.
    """
    if sys.platform == "win32":  # has no such limit
        return connections
    import resource

    needed = connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    if hard == resource.RLIM_INFINITY or hard > soft:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, soft - OTHERS)
