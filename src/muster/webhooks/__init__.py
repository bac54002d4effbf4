"""Webhooks out: who entered and who left a cohort, and which job ended, told to other systems' addresses."""
