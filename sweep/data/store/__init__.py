"""The image store: decoded images at one size, in memory-mapped Arrow files."""
