"""Attio: the connection of a project, browsing, and what is imported from it."""
