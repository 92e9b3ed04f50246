"""dies_with.py PID PROGRAM WORD…: becomes PROGRAM, which the kernel kills as soon as its parent, process PID, has died.

In a process of its own and not in Popen's preexec_fn: that is Python between fork and exec in a process with threads, where
a lock that another thread held stays locked for good; and the supervisor would wait for it, with the leases in its hands.
Not setpriv --pdeathsig: it always sets capabilities, which the unit's system call filter refuses.
"""

from __future__ import annotations

import ctypes
import os
import sys

# linux/prctl.h; not from the module signal, whose import takes longer than all of this: it is part of each hand-over.
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # it died before the line above: nobody would ever end us
    os.execv(sys.argv[2], sys.argv[2:])
