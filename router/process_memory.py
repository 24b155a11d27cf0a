"""What a process that serves for long does about Python's garbage collector.

A full collection looks at every object there is. With the libraries of a serving process these
are about half a million, nearly all of them modules and classes that live as long as the
process: 70 ms during which no request is answered, up to twice a second under load.
"""

from __future__ import annotations

import gc

from router.limits import GC_YOUNG_OBJECTS


def settle() -> None:
    """Call it once all is opened: what lives now is never looked at again.

    Memory of requests is freed by reference counts as before; only what refers to itself waits
    for the collector, which from now on has little to go through.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS)
