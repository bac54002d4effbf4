"""Messages that are none: anybody who can write to Redis can put them there, and they must not stop the others."""

import logging
from typing import Any

from dramatiq import JSONEncoder, MessageProxy
from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import DecodeError

_log = logging.getLogger(__name__)


class StrictEncoder(JSONEncoder):
    """JSON, and of the shape that a message of ours has: Dramatiq stumbles later over any other."""

    def decode(self, data: bytes) -> dict[str, Any]:
        """The fields of a message. Raises DecodeError."""
        fields = super().decode(data)
        try:
            options = fields["options"]
            whole = all(isinstance(fields[name], str) for name in ("queue_name", "actor_name", "message_id"))
            whole = whole and isinstance(options["redis_message_id"], str) and isinstance(fields["args"], list)
        except (TypeError, KeyError):
            whole = False
        if not whole:
            raise DecodeError("This is no message of Muster.", data, None)  # type: ignore[no-untyped-call]
        return fields


class SiftingBroker(RedisBroker):
    """A RedisBroker whose consumers move what is no message of ours to the dead letters.

    Dramatiq's own consumer dies of it, forgets what it had fetched beside it, and starts again; the bytes stay
    un-acknowledged for ever and trouble every worker after this one.
    """

    @property
    def consumer_class(self) -> type[Consumer]:
        """The consumer that sifts."""
        return SiftingConsumer

    def set_aside(self, queue: str, data: bytes) -> None:
        """Move a fetched message, known by its bytes only, to the dead letters."""
        client: Any = self.client
        fetched = list(client.smembers(f"{self.namespace}:__acks__.{self.broker_id}.{queue}"))
        stored = client.hmget(f"{self.namespace}:{queue}.msgs", fetched) if fetched else []
        for message_id, message in zip(fetched, stored, strict=True):
            if message == data:
                self.do_nack(queue, message_id)
        _log.error("Moved what is no message of Muster from the queue %s to its dead letters: %.200r", queue, data)


class SiftingConsumer(_RedisConsumer):
    """Fetches as usual; None, "nothing there yet", in place of garbage."""

    def __next__(self) -> MessageProxy | None:
        try:
            message: MessageProxy | None = super().__next__()  # type: ignore[no-untyped-call]
        except DecodeError as error:
            self.broker.set_aside(self.queue_name, error.data)
            return None
        return message
