"""Projects: each belongs to an owner, and everything else belongs to a project."""

import os

# GitPython looks for git when it is imported, and ends a process without; we say so when git is needed.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
