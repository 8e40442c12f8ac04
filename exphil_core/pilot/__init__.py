"""The pilot: a process beside a run that plays held-out games in real time with the run's newest weights.

`python -m exphil_core.pilot RUN` is the process itself. `directory`, `placement` and `supervisor` are for other
processes and never load torch.
"""
