"""Melee's vocabulary: characters, stages, action states, controller, frames. No torch, no I/O."""
