"""A process that makes commits until it is killed: for each line `root number count` on its input a child of its own.

It imports Muster once; a child per commit costs nothing. Prints the child's process id, which leads a session.
"""

import asyncio
import os
import sys
from pathlib import Path

from muster.projects.repository import Repository, commit


def work(root: str, number: str, count: str) -> None:
    paths = [f"attio/company/c{each}.json" for each in range(int(count))]
    asyncio.run(commit(Repository(Path(root)), paths, f"Import {number}", {"Muster-Job": f"IMP-{number}"}))


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.setsid()
            work(*line.split())
            os._exit(0)
        print(child, flush=True)  # noqa: T201
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
