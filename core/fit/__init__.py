"""Whether a run fits its devices, how long it takes, and what to change when it does not. Torch-free.

memory.py    bytes of one process, part by part, from a model's anatomy and what the config asks for
rows.py      how long the rows are, in tokens: a sample of the dataset through the model's own tokenizer, kept
work.py      what a config asks for, as memory and time see it: sizes, packs, steps
policy.py    the same for PPO: several roles on one backbone, sampling, learning
duration.py  seconds to finish, from earlier runs here or the device's peak
weighing.py  bytes against devices: fits, tight, no
estimate.py  all of it against the devices: `estimate(config, workspace) -> Fit`
relief.py    what a run that died of memory could be started again with
ladder.py    changes that make a run smaller until it fits, or larger where there is room
"""
