"""Runs in this very worker, to try an experiment without anybody else: a Python function of one persona.

A function is an entry point of the group `muster.experiments`; it is called with the configuration (without personas)
and with one persona, and answers with what becomes JSON.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import msgspec

from muster.errors import Invalid, Problem
from muster.experiments.dispatch import Finished, Outcome, Parcel
from muster.experiments.documents import ExperimentRun, Part
from muster.experiments.wire import Refusal

GROUP = "muster.experiments"

Call = Callable[[dict[str, Any], dict[str, Any]], Any]


@cache
def known_callables() -> dict[str, EntryPoint]:
    """The functions that installed packages bring, by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def check_callable(name: str | None) -> None:
    """Raise Invalid for a function that nobody brings."""
    known = known_callables()
    if name not in known:
        none = f"No installed package brings any function under the entry points of {GROUP}."
        others = f"No installed package brings a function {name!r}; there are {', '.join(sorted(known))}."
        detail = others if known else none
        raise Invalid(detail, [Problem(detail, "/config/dispatch/callable")])


@dataclass(frozen=True, slots=True)
class Local:
    """A function, and the configuration that it gets."""

    name: str
    configuration: dict[str, Any]

    async def start(self, parcel: Parcel) -> Outcome:
        """Call it for each persona, one after the other, beside what else the worker does."""
        call = self._loaded()
        results: list[bytes] = []
        async for batch in parcel.personas():
            results += await asyncio.to_thread(_results, call, self.configuration, batch)
            await parcel.report(len(results))
        return Finished(results)

    async def look(self, run: ExperimentRun, part: Part) -> Outcome:
        """Never asked: `start` finishes."""
        raise Refusal(f"{run.id} has no other side that could be asked about part {part.number}.")

    def _loaded(self) -> Call:
        try:
            call: Call = known_callables()[self.name].load()
        except Exception as error:
            raise Refusal(f"The function {self.name!r} cannot be loaded ({type(error).__name__}: {error}).") from error
        return call


def _results(call: Call, configuration: dict[str, Any], personas: Sequence[bytes]) -> list[bytes]:
    return [_result(call, configuration, msgspec.json.decode(persona)) for persona in personas]


def _result(call: Call, configuration: dict[str, Any], persona: dict[str, Any]) -> bytes:
    """What a function says of one persona; that it raised is a result, too."""
    try:
        return json.dumps(call(configuration, persona), allow_nan=False).encode()
    except Exception as error:  # noqa: BLE001  as above
        return json.dumps({"state": "error", "error": f"{type(error).__name__}: {error}"[:1_000]}).encode()
