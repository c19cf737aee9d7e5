"""The reward: pure functions from a response and its sample to a score with its parts."""
