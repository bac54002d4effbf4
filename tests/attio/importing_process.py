"""A worker for one import, for a test to kill: `importing_process.py IMP-1`. Its settings come from the environment.

Its leases are short, so that nobody waits long for those of a killed one to run out.
"""

import asyncio
import sys
from datetime import timedelta

from muster.attio.importing import run_job
from muster.jobs.service import Busy
from muster.resources import open_resources
from muster.settings import load_settings

LEASE = timedelta(seconds=1)


async def main(job_id: str) -> None:
    settings = load_settings()
    async with open_resources(settings):
        while True:
            try:
                await run_job(job_id, settings, ttl=LEASE)
            except Busy:
                await asyncio.sleep(0.05)  # until the lease of the one before has run out
            else:
                return


asyncio.run(main(sys.argv[1]))
