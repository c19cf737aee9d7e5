"""Held-out questions through the engines, and their scoring rules."""
