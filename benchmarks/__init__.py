"""Measurements, each beside the alternative in the same run. `python -m benchmarks.<name>`; results in RESULTS.md."""
