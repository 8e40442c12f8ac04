"""Backbones, controller heads and the policy made of them."""
