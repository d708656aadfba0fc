"""Layouts in which weights are published, one file each; timm's own names need none."""
