"""The search: studies in the ledger, waves dealt out of them, Ray Tune that runs the waves."""
