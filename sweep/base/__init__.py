"""What every other package uses: text, files, identity, settings; it knows nothing of sweeps."""
