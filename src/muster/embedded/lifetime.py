"""Ties a process to its parent's life: nothing outlives a supervisor, not even one that is killed with -9.

Started as a script, it becomes the program named by its arguments:

    python -I -S lifetime.py PARENT_PID PROGRAM ARGUMENT...

`exec` keeps both the process id and the arguments that a person sees in `ps`. A script of our own is safer than
`preexec_fn`, which runs Python between fork and exec of a process that may have threads. It imports nothing of ours,
so that it starts in a few milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent_id: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if the parent is already gone.

    The parent is, precisely, the *thread* that started us: start services from a main thread only. macOS has no such
    call; there a killed supervisor leaves its servers behind, and the next start names the process that holds the lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_id:
            os._exit(1)


def keep_forks_alive_only_with_this_process() -> None:
    """Tie every process forked from now on to this one, for a library that forks workers on its own (Dramatiq)."""
    parent_id = os.getpid()

    def tie() -> None:
        # A fork of a fork belongs to that fork: tie it to its own parent, whoever it is.
        die_with(parent_id if os.getppid() == parent_id else os.getppid())

    os.register_at_fork(after_in_child=tie)


if __name__ == "__main__":
    # A session of its own: Ctrl-C on the terminal reaches the supervisor alone, which stops the rest in order.
    os.setsid()
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - replacing ourselves with the named program is the purpose
