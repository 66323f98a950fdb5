"""Learning: assignment, losses, trainer, checkpoints."""
