"""Stand-ins for other systems, to try Muster without an account there, and to test against. Nothing here is real."""
