"""Families of backbones, one file each; a model that names none of the others is timm's."""
