"""Synthetic scenes: solids on a ground plane, rendered, with questions and true chains of thought for both paths.

config → layout (draws a scene) → render (its picture) → asking (`spatial.questions`) → build (a data set)
"""
