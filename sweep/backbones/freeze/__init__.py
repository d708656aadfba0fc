"""Freeze modes: which parameters of a trunk are trained, one file a mode."""
