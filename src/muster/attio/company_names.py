"""The names of the companies that people are at: Attio says a company's id only."""

import logging
from collections.abc import Collection, Mapping, Sequence

from muster.attio.client import AttioClient
from muster.attio.documents import AttioImport
from muster.attio.errors import AttioApiError
from muster.attio.lookup import Lookup
from muster.attio.models import Record
from muster.attio.parts import company_of
from muster.attio.selecting import Found
from muster.attio.values import name_of

MOST = 100_000  # names that are kept

_log = logging.getLogger(__name__)


class CompanyNames:
    """Names by record id, learned as they are needed: from what was imported, else from Attio."""

    def __init__(self, client: AttioClient, project_id: str) -> None:
        self._lookup, self._project_id = Lookup(client), project_id
        self._names: dict[str, str] = {}
        self._may_ask = True

    async def of(self, found: Sequence[Found]) -> Mapping[str, str]:
        """The names that the people among these need, as far as anybody knows them."""
        people = (one.record.values for one in found if one.object_slug == "people")
        wanted = {company for values in people if (company := company_of(values))} - self._names.keys()
        if wanted:
            await self._learn_imported(wanted)
            wanted -= self._names.keys()
        if wanted and self._may_ask:
            try:
                await self._ask(wanted)
            except AttioApiError as error:  # people can be imported without
                _log.warning("The names of companies are not to be had: %s", error.detail)
                self._may_ask = False
        return self._names

    async def _learn_imported(self, wanted: Collection[str]) -> None:
        query = {"project_id": self._project_id, "attio_object_type": "company", "subject_id": {"$in": list(wanted)}}
        async for row in AttioImport.get_motor_collection().find(query, {"subject_id": 1, "name": 1}):
            self._keep(row["subject_id"], row["name"])

    async def _ask(self, wanted: Collection[str]) -> None:
        for company, record in (await self._lookup.records("companies", wanted)).items():
            self._keep(company, name_of(record.values) if isinstance(record, Record) else "")

    def _keep(self, company: str, name: str) -> None:
        if len(self._names) < MOST:
            self._names[company] = name
