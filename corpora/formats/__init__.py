"""File formats, read safely and in bounded memory: JSON row by row, images, pickles, masks."""
