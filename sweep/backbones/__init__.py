"""Backbones: networks without their heads, their weights, which part of them learns."""
