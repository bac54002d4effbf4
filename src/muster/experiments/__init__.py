"""Experiments: a configuration run over the personas of a cohort, elsewhere; frozen, dispatched once, results kept."""
