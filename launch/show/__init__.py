"""A run as people see it: in the terminal, as a page, as a picture."""
