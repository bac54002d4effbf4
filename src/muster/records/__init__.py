"""Profiles and their parts, the field registry, and bulk import."""
