"""Muster: rule-based cohorts of leads, contacts and customers that stay right while records change."""
