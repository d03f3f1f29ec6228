"""Coverage-guided fuzzing of everything that decodes: `python tests/fuzz/fuzz.py [--seconds N] [TARGET ...]`.

Each target runs in a process of its own, as many at once as there are cores. What it finds on the way to new code is
kept in the corpus, which the tests replay; an input that breaks something is written there too, and fails the run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
OUT = HERE.parents[1] / "out" / "fuzz.json"
_LONGEST = 4096


def main() -> int:
    """Fuzz; exit 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="how long each (default: 60)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        return _one(args.targets[0], args.seconds)
    sys.path.insert(0, str(HERE))
    from targets import TARGETS

    unknown = set(args.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {min(unknown)!r}; there are {', '.join(TARGETS)}")
    return _all(args.targets or list(TARGETS), args.seconds)


def _all(names: list[str], seconds: int) -> int:
    todo, running, broken = list(names), dict[str, "subprocess.Popen[str]"](), list[str]()
    runs = dict[str, int]()
    while todo or running:
        while todo and len(running) < (os.cpu_count() or 1):
            name = todo.pop(0)
            command = [sys.executable, "-P", __file__, "--one", name, "--seconds", str(seconds)]
            running[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, process in list(running.items()):
            if process.poll() is None:
                continue
            told = (process.stdout.read() if process.stdout else "").splitlines()
            print(f"{name}: {'broken' if process.returncode else 'held'}; {_sum(told)}", flush=True)
            if said := re.match(r"Done (\d+) runs", _sum(told)):
                runs[name] = int(said[1])
                _keep(runs)
            if process.returncode:
                print(*told[-40:], sep="\n")
                broken.append(name)
            del running[name]
        time.sleep(0.2)
    return 1 if broken else 0


def _keep(runs: dict[str, int]) -> None:
    """How often each was tried, for the page about what is proved."""
    from statecore.testing._core import stamp

    told = [{"target": name, "runs": count, **stamp()} for name, count in runs.items()]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _sum(told: list[str]) -> str:
    return next((line.strip() for line in reversed(told) if line.startswith("Done ")), "no sum")


def _one(name: str, seconds: int) -> int:
    import atheris

    sys.path.insert(0, str(HERE))
    with atheris.instrument_imports(include=["statecore"]):
        from targets import TARGETS
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={_LONGEST}",
        "-timeout=10",
        f"-artifact_prefix={folder}/broken-",
    ]
    TARGETS[name](b"")  # what is made once may take longer than an input may
    atheris.Setup([sys.argv[0], str(folder), *options], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
