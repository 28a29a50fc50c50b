"""What the three stages share and no lesson teaches: rollouts on disk, a training loop that survives, the report."""
