"""Drive an agent frame by frame through a game, and count its button presses."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import exphil_core as exphil

FRAMES = 120

with TemporaryDirectory() as folder:
    exphil.write_demo(Path(folder, "demo"), games=12, seed=0)
    dataset = exphil.build_dataset([Path(folder, "demo")], out=Path(folder, "dataset"))
    run = exphil.train(
        "quick",
        dataset,
        overrides={"train.max_steps": 20, "train.batch_size": 8, "evaluation.max_frames": 4000},
        runs_dir=Path(folder, "runs"),
    )
    agent = exphil.make_agent(exphil.load_policy(run.path), seed=1)
    pressed = 0
    replay = min(Path(folder, "demo").glob("*.slp"))
    for frame in islice(exphil.replay_frames(replay), FRAMES):
        (controller,) = exphil.to_controllers(agent.act(frame))
        pressed += controller.buttons != 0
    print(f"the agent held a button in {pressed} of {FRAMES} frames")
