"""Backbones, controller heads and the policy that combines them."""
