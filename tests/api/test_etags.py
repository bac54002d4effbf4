"""What `If-Match` and `If-None-Match` accept."""

import pytest
from litestar.testing import RequestFactory

from muster.api import etags
from muster.errors import BadRequest, PreconditionFailed


def request(**headers: str):
    return RequestFactory().get("/", headers={name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("header", "revs"),
    [
        ('"7"', {7}),
        ('"7", "8"', {7, 8}),
        (' "7" ,"8" ', {7, 8}),
        ('W/"7"', set()),
        ('"7", W/"8"', {7}),
        ('"x"', set()),
        ('"٣"'.encode().decode("latin-1"), set()),
        ('"99999999999999999999"', set()),
    ],
)
def test_if_match_names_revisions(header: str, revs: set[int]) -> None:
    assert etags.expected_revs(request(if_match=header)) == revs


def test_without_if_match_or_with_a_star_any_revision_will_do() -> None:
    assert etags.expected_revs(request()) is None
    assert etags.expected_revs(request(if_match="*")) is None
    assert etags.must_exist(request(if_match="*"))
    assert not etags.must_exist(request())


@pytest.mark.parametrize("header", ["7", '"7', '"7" "8"', "", ",", '"7",'])
def test_what_is_no_list_of_tags_is_a_bad_request(header: str) -> None:
    with pytest.raises(BadRequest):
        etags.expected_revs(request(if_match=header))


def test_a_stale_revision_fails() -> None:
    etags.check_if_match(request(if_match='"7"'), 7)
    with pytest.raises(PreconditionFailed):
        etags.check_if_match(request(if_match='"7"'), 8)


@pytest.mark.parametrize(("header", "same"), [('"7"', True), ('W/"7"', True), ('"8"', False), ('"8", "7"', True)])
def test_a_copy_that_is_still_right_is_not_sent_again(header: str, same: bool) -> None:
    assert etags.not_modified(request(if_none_match=header), 7) is same


def test_creating_only_is_asked_by_a_star() -> None:
    assert etags.must_not_exist(request(if_none_match="*"))
    assert not etags.must_not_exist(request(if_none_match='"7"'))
