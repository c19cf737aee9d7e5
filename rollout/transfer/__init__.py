"""Weights on their way from the learner to engines: both ends, and the client that asks every engine."""
