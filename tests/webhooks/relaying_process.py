"""A process that relays and sends, for a test to kill; its settings come from the environment.

It takes the lease under one name whenever it starts, so that nobody waits for a killed one's to run out.
"""

import asyncio

from muster.resources import open_resources
from muster.settings import load_settings
from muster.webhooks.relay import relay


async def main() -> None:
    settings = load_settings()
    async with open_resources(settings):
        await relay(settings, "the one process")


asyncio.run(main())
