"""Real servers for trying and testing, and the supervisor behind `muster up`."""
