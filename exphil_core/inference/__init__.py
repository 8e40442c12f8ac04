"""A policy that plays: state, delay queue, sampling."""
