"""MLflow: the names of its runs, the writer, the reader."""
