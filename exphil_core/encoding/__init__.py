"""Encode replay columns as model inputs, and controllers as target tokens and back.

The lowest layer that imports torch.
"""
