"""The checks of this folder stand outside of test modules; pytest shall explain them when they fail all the same."""

import pytest

pytest.register_assert_rewrite(
    "tests.faults.assigning",
    "tests.faults.faults",
    "tests.faults.imports",
    "tests.faults.recount",
    "tests.faults.rounds",
    "tests.faults.scene",
    "tests.faults.traffic",
    "tests.faults.worlds",
)
