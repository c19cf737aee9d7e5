"""Checks of readable samples for what looks wrong: frames, units, answers, marks, chains."""
