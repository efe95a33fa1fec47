"""Runs beside each other: their curves, their settings, where they come from, their checkpoints, archives of them."""
