"""Runs along axes, made comparable by a budget: what is asked, who works on it, and what came out."""
