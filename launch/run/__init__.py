"""A run from its folder to its end: prepared, started, resumed, submitted."""
