"""A real mongod for the rules: sync, on a collection of their own, without the rest of the application."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from muster.embedded.servers import Addresses

Profiles = Collection[dict[str, Any]]


@pytest.fixture(scope="session")
def rule_profiles(servers: Addresses) -> Iterator[Profiles]:
    """An empty collection in a database of its own."""
    assert servers.mongodb_uri is not None
    with MongoClient[dict[str, Any]](servers.mongodb_uri, tz_aware=True) as client:
        yield client["test_rules"]["profiles"]
        client.drop_database("test_rules")


@pytest.fixture
def profiles(rule_profiles: Profiles) -> Profiles:
    """The collection, emptied."""
    rule_profiles.delete_many({})
    return rule_profiles
