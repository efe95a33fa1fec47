"""Bringing files and sets of hubs in as datasets, and writing datasets out again."""
