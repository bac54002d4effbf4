"""Attio's webhook over the wire."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, SecretStr, StringConstraints, model_validator

from muster.api.requests import Body
from muster.attio.hooks import HookState, Taken


class HookIn(Body):
    """Either the address under which Attio reaches Muster, or the secret of a webhook that was made by hand."""

    read_only: ClassVar[frozenset[str]] = frozenset({"state", "path", "webhook_id", "last_delivery_at"})

    target_url: (
        Annotated[
            str,
            StringConstraints(max_length=1_000, pattern=r"^https?://[^\s/][^\s]*$"),
            Field(description="Such as https://muster.example.com; the path is added."),
        ]
        | None
    ) = None
    secret: Annotated[SecretStr, Field(min_length=8, max_length=500, description="Shown by no answer.")] | None = None
    project_id: Annotated[str, StringConstraints(max_length=100)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "HookIn":
        if (self.target_url is None) == (self.secret is None):
            raise ValueError("Give a target_url or a secret, and not both.")
        return self


class HookOut(BaseModel):
    """How a project hears from Attio; `path` is where its deliveries go."""

    project_id: str
    state: Literal["off", "secret", "registered"]
    path: str
    webhook_id: str | None
    target_url: str | None
    last_delivery_at: datetime | None

    @classmethod
    def of(cls, state: HookState) -> "HookOut":
        """The answer; never a secret."""
        return cls(**asdict(state))


class TakenOut(BaseModel):
    """What became of a delivery."""

    events: int
    marked: int
    repeated: bool

    @classmethod
    def of(cls, taken: Taken) -> "TakenOut":
        """The answer to Attio."""
        return cls(**asdict(taken))
