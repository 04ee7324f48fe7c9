"""Extract in child processes that are killed with SIGKILL at random moments; run by test_batch_runner.

Usage: python kill_and_resume.py ROOT N_KILLS SEED
A process of its own, because it forks after importing torch and before using it: importing anew for every
kill would take minutes. Prints one JSON object: for each kill, the shards there were, with inode and
time of writing; and the exit status of the last run, which is left alone.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
import transformers.models.cohere2.modeling_cohere2  # noqa: F401 - imported here, once, for every child

import batch_runner
from probe.activations import run as extraction


def extract(root: str) -> int:
    pid = os.fork()
    if pid == 0:
        torch.set_num_threads(1)
        extraction.extract_shard = slowly(extraction.extract_shard)
        os._exit(
            batch_runner.main(
                ["--local", "--family", "tiny", "--variants", "base", "--root", root, "--shard-size", "2"]
            )
        )
    return pid


def slowly(extract_shard):
    """A shard of the tiny model takes 3 ms, too little for a kill to fall between two."""

    def slow(*args):
        time.sleep(0.02)
        return extract_shard(*args)

    return slow


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def complete(folder: Path) -> dict:
    """A shard that has its name is whole."""
    stats = {path.name: path.stat() for path in shards(folder)}
    return {name: [stat.st_ino, stat.st_mtime_ns] for name, stat in stats.items()}


def main(root: str, n_kills: int, seed: int) -> None:
    rng = random.Random(seed)
    folder = Path(root) / "activations" / "tiny" / "base"
    seen = []
    for _ in range(n_kills):
        there = len(shards(folder))
        pid = extract(root)
        target = there + rng.randint(0, 3)
        while len(shards(folder)) < target:
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.03 if target > there else 0.3))
        os.kill(pid, signal.SIGKILL)  # a zombie if it has ended: the test sees that it was too late
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == -signal.SIGKILL, f"the run ended by itself with {status}"
        seen.append(complete(folder))
    status = os.waitstatus_to_exitcode(os.waitpid(extract(root), 0)[1])
    print(json.dumps({"seen": seen, "last": complete(folder), "status": status}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
