"""The dashboard: a page that a run serves while it is under way; it also opens runs that have ended."""
