"""A run: its phases, its coordinator, its folder, what it reports."""
