"""The comparison: results by cell, intervals, differences, questions, tables and the report."""
