"""Attacks on what stands: each module is a command, `python -m tests.attack.NAME --count N --seed S`.

It prints what it did and what it found, and ends with 1 where it found something. The suite runs a short form of each;
docs/reliability.md has what the long forms found.
"""
