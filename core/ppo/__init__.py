"""Proximal policy optimisation on one backbone; `core.recipes.ppo` is the algorithm, these are its parts.

math      pure functions on tensors: per-token rewards, advantages, clipped losses, KL, β
roles     policy, critic, reward and reference on one frozen backbone
rollout   prompts → sampled answers, and everything that is scored of them
rewards   reward models, rules and a judge, weighted
learning  the optimizer steps on one rollout
loop      rollout after rollout: evaluation, checkpoints, resume, ends
"""
