"""Models and people that say something about rows: asked, understood, kept. Torch-free."""
