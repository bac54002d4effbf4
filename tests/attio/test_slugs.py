"""Names of files for any name there is."""

import hashlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muster.attio.slugs import file_names, slug_of

ID = "3762453c-1771-5e84-aaa1-7d5f560d4774"
TEXTS = st.text(st.characters(codec=None), max_size=400)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme, Inc.", "acme-inc"),
        ("AT&T", "at-t"),
        ("Zoë O\u2019Brien-Łuka", "zoe-o-brien-luka"),
        ("Størst Öl AG", "storst-ol-ag"),
        ("株式会社", "zhu-shi-hui-she"),
        ("شركة النور", "shrk-lnwr"),
        ("Москва", "moskva"),
        ("ﬁne ①", "fine-1"),
        ("..", ""),
        (".GIT", "git"),
        ("../../etc/passwd", "etc-passwd"),
        ("&#x2e;&#46;&amp;", "x2e-46-amp"),
        ("a\0b\nc", "a-b-c"),
        ("🏛", ""),
        ("   ", ""),
        ("", ""),
        ("word " * 60, "-".join(["word"] * 16)),
        ("x" * 300, "x" * 80),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert slug_of(name) == slug


@pytest.mark.parametrize("name", ["CON", "nul", "Lpt1", "com9", "COM¹", "aux."])
def test_devices_of_windows_are_no_names(name: str) -> None:
    assert next(file_names(name, ID)) == f"{slug_of(name)}-3762453c"


def test_names_that_collide_get_something_of_the_id_and_more_when_that_collides_too() -> None:
    digest = hashlib.sha256(ID.encode()).hexdigest()
    assert list(file_names("Acme", ID)) == [
        "acme",
        "acme-3762453c",
        "acme-3762453c17715e84",
        "acme-3762453c17715e84aaa17d5f560d4774",
        f"acme-{digest}",
    ]
    assert next(file_names("", ID)) == "unnamed-3762453c"


@given(name=TEXTS, first=TEXTS, second=TEXTS)
@example(name="..", first="a", second="A")
@example(name="con", first="", second="-")
def test_any_name_gives_safe_names_and_the_last_is_of_one_record_alone(name: str, first: str, second: str) -> None:
    names = list(file_names(name, first))
    assert names == list(file_names(name, first))
    assert len(names) == len(set(names))
    for each in names:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", each)
        assert len(each) <= 200
        assert not re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", each)
    if first != second:
        assert names[-1] != list(file_names(name, second))[-1]
