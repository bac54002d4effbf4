"""Names of files: a record's name as a slug that every file system takes, and something of its id where names collide.

Lower-case ASCII letters, digits and single hyphens only, so that nothing in a name leads anywhere, hides a file, or
means another file on a system that ignores case.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator

from slugify import slugify
from text_unidecode import unidecode

LONGEST = 80  # characters; with a whole digest and `.json` far below the 255 of file systems
SHORT_ID = 8
UNNAMED = "unnamed"

# What Windows takes for a device, whatever ending follows.
_DEVICES = re.compile(r"con|prn|aux|nul|conin|conout|(com|lpt)[0-9]")


def slug_of(name: str) -> str:
    """The slug of a name; empty when nothing of it can be said in ASCII."""
    # Said in ASCII here, by text-unidecode: python-slugify takes whichever library it finds, and slugs would differ.
    spoken = unidecode(unicodedata.normalize("NFKD", name[: 10 * LONGEST]))
    slug: str = slugify(
        spoken,
        entities=False,
        decimal=False,
        hexadecimal=False,
        max_length=LONGEST,
        word_boundary=True,
        save_order=True,
    )
    return slug


def file_names(name: str, record_id: str) -> Iterator[str]:
    """The names that a record's file may have, without ending, the best first; the last is this record's alone."""
    slug, short = slug_of(name), re.sub(r"[^a-z0-9]", "", record_id.lower())
    if slug and not _DEVICES.fullmatch(slug):
        yield slug
    stem = slug or UNNAMED
    for length in dict.fromkeys((SHORT_ID, 2 * SHORT_ID, len(short))):
        if SHORT_ID <= length <= min(len(short), LONGEST):
            yield f"{stem}-{short[:length]}"
    yield f"{stem}-{hashlib.sha256(record_id.encode(errors='surrogatepass')).hexdigest()}"
