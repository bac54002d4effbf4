"""Runs Dramatiq's master process in this one, as `muster worker`."""

from dramatiq import cli

from muster.embedded import lifetime

STOP_WITHIN = 3_000  # milliseconds; whoever still works is killed then, and the sweep sends the job again
START_WITHIN = 2_000  # milliseconds; a child that its first job kills would be waited for in vain, by default for 30 s


def run_workers(processes: int, threads: int) -> int:
    """Run worker processes until SIGTERM or Ctrl-C; the exit code.

    They are forks of this process, whom Dramatiq leaves behind when it is killed: here the kernel kills them too.
    """
    # What every worker needs, imported once and shared by its forks.
    import muster.resources  # noqa: F401, PLC0415 - not before the command line is known to be right

    lifetime.keep_forks_alive_only_with_this_process()
    arguments = cli.make_argument_parser().parse_args(  # type: ignore[no-untyped-call]  # Dramatiq has few annotations
        [
            "workers.main",
            *("--processes", str(processes), "--threads", str(threads)),
            *("--worker-shutdown-timeout", str(STOP_WITHIN), "--worker-fork-timeout", str(START_WITHIN)),
        ]
    )
    arguments.path = []  # Dramatiq would put the working folder first, and with it any `workers` in there
    return int(cli.main(arguments))  # type: ignore[no-untyped-call]  # as above
