"""Files as people have them, read as pixels and tables."""
