"""The policy update: cold start (SFT), advantages, losses, batches, DeepSpeed, weights out, checkpoints."""
