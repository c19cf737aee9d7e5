"""Imports: data sets become a folder that training reads."""
