"""RESULTS.md: one section for each benchmark, replaced when it runs again."""

from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def keep(section: str) -> None:
    """Put a section, which begins with its `## ` title, in place of the one with the same title, or at the end."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    title = section.partition("\n")[0]
    before, found, after = text.partition(f"{title}\n")
    _, more, rest = after.partition("\n## ")
    section = section.rstrip("\n") + "\n"
    RESULTS.write_text(f"{before if found else text.rstrip() + chr(10) * 2}{section}{more and more + rest}")
