"""The training core: what a batch is, the fast path, losses, what learns, and Galen's Trainer."""
