"""File formats read with care: JSON row by row, images, pickles, masks."""
