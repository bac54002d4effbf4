"""What every actor does around its work: nothing that happens there is news to Dramatiq, the job has it on record."""

import logging
from collections.abc import Awaitable, Callable

from muster.errors import MusterError
from muster.jobs.service import Busy, Cancelled, Done, Fenced, Waits

_log = logging.getLogger(__name__)


async def attempt(job_id: str, work: Callable[[str], Awaitable[object]]) -> None:
    """Answer one message. A job that is done, or in other hands, makes this message a copy: nothing to do.

    Other errors are recorded on the job by `jobs.service.claim`, and logged here: the message is answered either way.
    """
    try:
        await work(job_id)
    except (Busy, Done, Waits) as reason:
        _log.info("%s", reason.detail)
    except (Cancelled, Fenced) as reason:
        _log.warning("%s", reason.detail)
    except MusterError as error:
        _log.warning("%s failed: %s", job_id, error.detail)
    except Exception:  # noqa: BLE001  the edge of this process
        _log.exception("An attempt at %s ended early.", job_id)
