"""Cameras and boxes in space, as data sets write them."""
