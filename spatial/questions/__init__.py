"""Kinds of question about a scene whose objects are known: what is measured, how it is asked, its chain of thought.

scene (what must be known) → kinds (the table; a new kind goes here) → choosing (which objects) → a question, its chains

The classes that the table is built from: comparisons, amounts, counting, perception, all of them `Kind`. The procedural
scenes (`spatial.scenes`) ask in the brief voice, the builder (`corpora.builder`) in the full one (`voices`).
"""
