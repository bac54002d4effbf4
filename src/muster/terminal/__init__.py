"""What every command shares: the API from the outside, and printing. Data on stdout, everything else on stderr."""
