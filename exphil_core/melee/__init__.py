"""The game's vocabulary: characters, stages, action states, controller, frames. No torch, no I/O."""
