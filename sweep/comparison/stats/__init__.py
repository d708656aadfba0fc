"""The inference of a comparison: influences, intervals, differences, families of p-values."""
