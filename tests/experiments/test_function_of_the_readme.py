"""The Modal function that the README shows drops repeats, unpacks what is packed, and speaks as Muster expects."""

import gzip
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.waiting import until

README = Path(__file__).parents[2] / "README.md"


class Dict:
    """As much of `modal.Dict` as is needed."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.get = SimpleNamespace(aio=self._get)

    def put(self, key: str, value: Any, *, skip_if_exists: bool = False) -> bool:
        if skip_if_exists and key in self.values:
            return False
        self.values[key] = value
        return True

    def __setitem__(self, key: str, value: Any) -> None:
        self.values[key] = value

    async def _get(self, key: str) -> Any:
        return self.values.get(key)


class Api:
    """As much of FastAPI as is needed."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[..., Any]] = {}

    def post(self, path: str) -> Callable[[Any], Any]:
        return lambda function: self.routes.setdefault(f"POST {path}", function)

    def get(self, path: str) -> Callable[[Any], Any]:
        return lambda function: self.routes.setdefault(f"GET {path}", function)


class Deployed:
    """What Modal makes of the code: its dictionaries, what was spawned, its routes."""

    def __init__(self) -> None:
        self.dicts: dict[str, Dict] = {}
        self.spawned: list[tuple[str, Any]] = []

    def load(self, code: str, patch: pytest.MonkeyPatch) -> Api:
        modal, fastapi = ModuleType("modal"), ModuleType("fastapi")
        image = SimpleNamespace(pip_install=lambda *_: None)
        more: dict[str, Any] = {
            "App": lambda *_, **__: SimpleNamespace(function=self._function),
            "Image": SimpleNamespace(debian_slim=lambda: image),
            "Dict": SimpleNamespace(from_name=lambda name, **_: self.dicts.setdefault(name, Dict())),
            "asgi_app": lambda **_: lambda function: function,
        }
        vars(modal).update(more)
        vars(fastapi).update({"FastAPI": Api, "Request": object})
        responses = ModuleType("fastapi.responses")
        vars(responses)["JSONResponse"] = lambda content, status: (status, content)
        for module in (modal, fastapi, responses):
            patch.setitem(sys.modules, module.__name__, module)
        names: dict[str, Any] = {}
        exec(compile(code, "README.md", "exec"), names)  # noqa: S102  it is ours
        made: Api = names["web"]()
        return made

    def _function(self, **_: Any) -> Callable[[Any], Any]:
        def keep(function: Any) -> Any:
            async def spawn(*arguments: Any) -> None:
                self.spawned.append((function, arguments))

            function.spawn = SimpleNamespace(aio=spawn)
            return function

        return keep


def request(body: bytes, **headers: str) -> Any:
    async def read() -> bytes:
        return body

    return SimpleNamespace(body=read, headers=headers)


async def test_the_function_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(code for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "modal" in code)
    deployed = Deployed()
    api = deployed.load(code, monkeypatch)
    start, result = api.routes["POST /"], api.routes["GET /result/{key}"]
    run = {"run_id": "run_1", "personas": {"members": [{"name": "Ada"}, {"name": "Ben"}]}}
    body = json.dumps(run).encode()
    first = await start(request(body))
    again = await start(request(gzip.compress(body), **{"content-encoding": "gzip"}))
    other = await start(request(json.dumps(run | {"part": {"number": 1}}).encode()))
    assert first == again != other
    assert (await result(first["call_id"]))[0] == 202
    calls = list(deployed.spawned)
    executed = 0
    for function, arguments in calls:
        before = len(deployed.dicts["muster-results"].values)
        function(*arguments)
        executed += len(deployed.dicts["muster-results"].values) - before
    assert (len(calls), executed) == (3, 2), "the repeat is dropped"

    async def there() -> Any:
        return await result(first["call_id"])

    found = await until(there)
    assert found["status"] == "completed"
    assert len(found["results"]) == 2
