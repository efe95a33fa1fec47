"""Chains of stages: planned and checked as a whole, queued once, each step starting from what earlier ones make.

plan.py        steps with their settings, handed over from step to step; queueing them
reading.py     a chain from a YAML file, or from the words of a command line
again.py       a run once more, in the place of one that failed
rehearsal.py   a few steps of every stage: will the real chain run?
"""
