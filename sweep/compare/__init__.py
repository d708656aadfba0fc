"""The comparison: from stored test predictions to intervals and tables."""
