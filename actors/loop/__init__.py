"""The training loops and their books."""
