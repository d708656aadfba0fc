"""A cluster that is reached through the Jobs API."""
