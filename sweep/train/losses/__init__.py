"""Losses that a recipe may name, one file a loss."""
