"""What would bias a comparison: near-duplicates, leaks, shortcuts, doubtful names."""
