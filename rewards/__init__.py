"""Pure functions: (response, sample) → score with its parts."""
