"""The search on Ray: Tune, workers, nodes, resources. Only this package and `remote` import ray."""
