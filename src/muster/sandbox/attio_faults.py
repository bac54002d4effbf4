"""What the stand-in for Attio gets wrong on request: everything that the real one has been seen to do, and worse."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

KINDS = {
    "rate_limited": "429; `retry_after`: date, seconds, past, none, or a text of its own",
    "server_error": "500 in Attio's envelope; `status` for another number",
    "html_error": "502 with a page of HTML",
    "html": "200 with a page of HTML",
    "truncated": "200 with JSON that ends in the middle",
    "no_data": "200 with JSON that has no `data`",
    "dropped": "the connection ends in the middle of the answer",
    "silent": "no answer for `seconds` (60)",
    "slow": "the right answer after `seconds` (1)",
    "revoked": "401, as for a key that was just revoked",
    "forbidden": "403, as for a key without the scope",
    "not_found": "404 not_found",
    "merge_in_progress": "404 merge_in_progress",
    "redirect": "302 to `location`",
    "rows_go": "before a page is read, the first `count` rows are deleted",
    "rows_come": "before a page is read, `count` copies of the first row are put before it",
    "repeated": "a page begins with the last `count` rows of the one before",
    "missing": "a page begins `count` rows too late",
    "short_page": "a page holds at most `count` rows, whatever was asked for",
    "lower_rate": "from now on only `count` requests a second",
}


@dataclass
class Fault:
    """One thing to go wrong, `times` times (-1: for ever), after `skip` other requests whose path holds `match`."""

    kind: str
    times: int = 1
    match: str = ""
    skip: int = 0
    retry_after: str = "date"
    status: int = 500
    seconds: float | None = None
    count: int = 1
    location: str = "https://elsewhere.example/"


@dataclass
class Faults:
    """What is still to go wrong, the first first."""

    waiting: list[Fault] = field(default_factory=list)

    def add(self, wanted: dict[str, Any]) -> Fault:
        """Ask for a fault. Raises ValueError, TypeError for one that there is not."""
        fault = Fault(**wanted)
        if fault.kind not in KINDS:
            raise ValueError(f"There is no fault {fault.kind!r}; there are {', '.join(KINDS)}.")
        self.waiting.append(fault)
        return fault

    def take(self, path: str) -> Fault | None:
        """The fault that befalls a request, if any."""
        for fault in self.waiting:
            if fault.match not in path:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times > 0:
                fault.times -= 1
                if fault.times == 0:
                    self.waiting.remove(fault)
            return fault
        return None


def retry_after(form: str) -> dict[str, str]:
    """The header `Retry-After` in one of its forms."""
    now = datetime.now(UTC)
    match form:
        case "none":
            return {}
        case "seconds":
            return {"retry-after": "1"}
        case "date":
            return {"retry-after": format_datetime(now.replace(microsecond=0) + timedelta(seconds=1), usegmt=True)}
        case "past":
            return {"retry-after": format_datetime(now - timedelta(minutes=5), usegmt=True)}
        case _:
            return {"retry-after": form}
