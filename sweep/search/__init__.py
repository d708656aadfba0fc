"""The search: studies in the ledger, waves made of their trials, Ray Tune that runs the waves."""
