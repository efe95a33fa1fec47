"""The commands of `python -m core`. Each module registers its own: `add(subparsers)`."""
