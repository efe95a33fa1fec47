"""Runs as process trees: submitting, queueing for devices, supervising, stopping, resuming. Torch-free throughout.

store.py       what a page or the command line calls: submit, stop, resume, kill, delete
pinning.py     names in a config become exact versions, so that bad input fails before a run exists
waiting.py     runs that start when others have succeeded, and what holds them
handing_over.py  what those have made goes into the config of one that has waited
attempts.py    what a resume does to the files of the earlier attempt
supervisor.py  one small process per run: waits for devices, starts the ranks, ends them, records how they ended
worker.py      one rank: imports the recipe and turns whatever happens into result.json
queue.py       who holds or waits for which device, over all workspaces of a machine
processes.py   finding and ending the processes of a run, by what they carry, never by name
locks.py       flock
failures.py    an exception or a death, as a code, a sentence and a remedy
summaries.py   one line per run, for lists
"""
