"""Procedural 3D scenes: geometry, rendering, questions and true chains of thought."""
