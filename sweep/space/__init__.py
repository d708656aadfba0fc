"""The space: the grid of cells, its file, the names that it may use."""
