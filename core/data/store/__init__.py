"""Datasets on disk: versions, what is written beside their rows, and what is kept ready to look at them."""
