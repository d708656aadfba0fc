"""Trackers that a space may name, one file each."""
