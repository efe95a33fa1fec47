"""Proximal policy optimisation on one backbone; `core.recipes.ppo` is the algorithm, these are its parts.

math      pure functions on tensors: per-token rewards, advantages, clipped losses, KL, β
roles     policy, critic, reward and reference on one frozen backbone
casting   which adapter plays which role
prompts   the rows that are asked, and their own answers
rollout   prompts → sampled answers, and everything that is scored of them
rewards   reward models, rules and a judge, weighted
judge     marks from a model behind an endpoint
lessons   rewards, advantages and figures of one rollout
learning  the optimizer steps on it
loop      rollout after rollout: evaluation, checkpoints, resume, ends
episodes  answers as files, for the page
saving    what learns, as files
"""
