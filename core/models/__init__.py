"""Base models: where they come from, what they are, what was trained on them. `loading` and `convert` import torch."""
