"""“Did you mean”: the known name closest to an unknown one."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like `name`, or None when none is."""
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(candidate.lower(), candidate)
    found = get_close_matches(name[:100].lower(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
