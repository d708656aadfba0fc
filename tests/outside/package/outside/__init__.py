"""One of everything that sweep can be extended by, each in one file."""
