"""A dataset as a table, as figures, and a row as the model sees it."""
