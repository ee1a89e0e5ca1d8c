"""`make demo`: the whole job on a laptop, as a sequence of ordinary `nmt5` commands.

Every stage is a command that a user could type; all read `gin/demo.gin`. A finished stage says so
and costs nothing, an interrupted one goes on where it was, so the demo itself needs no state.
"""

import os
import resource
import shlex
import subprocess
import sys
import time

GIN = "--gin_file=gin/demo.gin"

STAGES = (
    ("Build a vocabulary from translated messages", ("vocabulary", GIN)),
    ("Tokenise the text once, and resolve the mixtures", ("prepare", GIN)),
    ("Pre-train a small base: span corruption only", ("train", GIN, "--gin_scope=base")),
    ("Continue it with monolingual text", ("train", GIN, "--gin_scope=mlm")),
    ("Continue it as long with parallel text beside", ("train", GIN, "--gin_scope=mlm_nmt")),
    ("Score the three models on held-out messages", ("evaluate", GIN)),
    ("Compare", ("report", GIN)),
)


def main() -> None:
    """Runs the stages in order; ends with the first one's exit code that is not 0."""
    start = time.monotonic()
    for number, (what, words) in enumerate(STAGES, start=1):
        began = time.monotonic()
        print(f"\n[{number}/{len(STAGES)}] {what}\n$ nmt5 {shlex.join(words)}", flush=True)
        process = subprocess.Popen([sys.executable, "-m", "nmt5.cli.main", *words])
        interrupted = False
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                interrupted = True  # the terminal has told the stage too: it saves and stops
        if code or interrupted:
            print(f"stopped in stage {number}; `make demo` goes on from here", file=sys.stderr)
            sys.exit(130 if interrupted else code if code > 0 else 128 - code)
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"\nmake demo: {time.monotonic() - start:.0f} s, peak memory of a "
        f"stage {peak_gib:.1f} GiB, {os.cpu_count()} CPUs"
    )


if __name__ == "__main__":
    main()
