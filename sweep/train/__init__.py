"""The training core: features, probes, fine-tuning, metrics. Needs torch and timm alone."""
