"""Matches in the dojo and their scores: policies, scripted bots and controls, played against one another."""
