"""The choices that make up a policy update, each alternative one object: settings, formula and its source, words.

    advantages/      from the rewards of a group to advantages
    policy_losses/   the loss of each response token
    aggregation.py   from the losses of tokens to the loss of a mini-batch
    importance.py    weights for responses that another policy sampled
    rejection.py     which tokens are too far from the policy that sampled them

To add one, copy a neighbour and name it in the union at the end of its file, or in the `__init__.py` of its folder.
What does not go together with it is refused by its own `check`. Importing these needs no torch, because configs are
read where there is none; a formula that calls torch itself imports it.
"""
