"""The comparison as a table, as LaTeX, as data frames."""
