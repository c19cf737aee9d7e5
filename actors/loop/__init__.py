"""The training loops, and what they keep count of."""
