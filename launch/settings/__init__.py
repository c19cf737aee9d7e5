"""A config: read, checked, overridden, explained."""
