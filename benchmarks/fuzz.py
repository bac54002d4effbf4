"""Rules that nobody would write: none raises anything but RuleError, none takes long or much memory to check.

    make fuzz        (python -m benchmarks.fuzz [rules] [seed])

Time is processor time of the checking thread; whatever is near the limit is checked twice more; the least counts: this
machine does other things, too. Memory is what the checks of the slowest and the longest rules allocate at once.
"""

import gc
import heapq
import re
import sys
import time
import tracemalloc
from collections import Counter
from itertools import islice
from typing import Any

from benchmarks.bench import machine
from benchmarks.results import keep
from muster.rules import RuleError, read_rule
from tests.rules.engines import REGISTRY
from tests.rules.fuzzing import Fuzz

RULES, SEED = 120_000, 20260615
MILLISECONDS, MEGABYTES = 100, 64
WATCHED = 40  # of the slowest and of the longest, whose memory is measured

Watched = tuple[float, int, str, Any]
"""A measure, the rule's number, its kind, and the rule."""


def check(source: Any) -> tuple[float, bool]:
    """Milliseconds that checking took, and whether the rule was read. Raises what is not a RuleError."""
    started = time.thread_time()
    try:
        read_rule(source, REGISTRY)
        is_read = True
    except RuleError:
        is_read = False
    return (time.thread_time() - started) * 1000, is_read


def megabytes(source: Any) -> float:
    """What checking allocates at its peak."""
    gc.collect()
    tracemalloc.start()
    check(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main() -> None:
    """Check them all; fail on the first foreign exception, or when a limit is passed."""
    count, seed = (int(given) for given in (*sys.argv[1:], *(str(RULES), str(SEED))[len(sys.argv) - 1 :]))
    kinds, read = Counter[str](), Counter[str]()
    slowest: list[Watched] = []
    longest: list[Watched] = []
    for number, (kind, source) in enumerate(islice(Fuzz(seed), count)):
        try:
            took, is_read = check(source)
        except Exception:
            print(f"{kind}: {source!r:.2000}")
            raise
        if took > MILLISECONDS / 2:
            took = min(took, check(source)[0], check(source)[0])
        kinds[kind] += 1
        read[kind] += is_read
        for watched, size in ((slowest, took), (longest, len(str(source)))):
            (heapq.heappush if len(watched) < WATCHED else heapq.heappushpop)(watched, (size, number, kind, source))
    peak = max(megabytes(source) for *_, source in (*slowest, *longest))
    report(kinds, read, slowest, peak, seed)
    if max(slowest)[0] > MILLISECONDS or peak > MEGABYTES:
        sys.exit("A limit is passed.")


def report(kinds: Counter[str], read: Counter[str], slowest: list[Watched], peak: float, seed: int) -> None:
    """Print the section of RESULTS.md, and keep it there."""
    rows = [f"| {kind} | {kinds[kind]:,} | {read[kind]:,} |" for kind in sorted(kinds)]
    worst = [f"| {took:.0f} | {kind} | `{short(source)}` |" for took, _, kind, source in sorted(slowest)[:-6:-1]]
    section = [
        "## Fuzz",
        "",
        f"`make fuzz`: {kinds.total():,} rules that nobody would write, seed {seed}; {machine()}. None raised anything",
        f"but RuleError. The slowest took {max(slowest)[0]:.0f} ms of processor time to check, of",
        f"{MILLISECONDS} allowed; the most memory that one took was {peak:.0f} MB, of {MEGABYTES} allowed.",
        "",
        "| kind | rules | of them read |",
        "|---|---:|---:|",
        *rows,
        "",
        "| ms | kind | the slowest |",
        "|---:|---|---|",
        *worst,
    ]
    print("\n".join(section))
    keep("\n".join(section))


def short(source: Any) -> str:
    """The beginning of a rule, on one line."""
    text = re.sub(r"(.)\1{9,}|(\\\\n){9,}", "…", ascii(source))[:80]
    return text.replace("|", "/").replace("`", "'")


if __name__ == "__main__":
    main()
