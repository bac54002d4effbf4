"""Cohorts: named groups of profiles, their members, and the watcher that keeps them right."""
