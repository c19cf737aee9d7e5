"""A run: its folder, and what it reports."""
