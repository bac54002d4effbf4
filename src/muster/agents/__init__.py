"""Agents, and leads handed to them: one cascade for each lead, many leads by one job."""
