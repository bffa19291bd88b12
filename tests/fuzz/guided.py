"""Alter every file that is read, guided by which lines of ours that reaches: ``make fuzz``, which needs atheris and Linux.

One process a target, since a parser that crashes takes its process along. What is found is written to ``runs/fuzz/TARGET``:
``crashes`` holds each input that ended in an error which is none of ours, ``corpus`` those that reached something new.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "fuzz")]
LONGEST = 1 << 18  # bytes of an input
QUIET = ["-print_final_stats=0", "-verbosity=0", "-rss_limit_mb=6000", "-timeout=60"]


def fuzz_one(name: str, seconds: int, found: Path) -> None:
    """Alter one file for so many seconds; never returns."""
    import atheris  # noqa: PLC0415  of `make fuzz` alone

    with atheris.instrument_imports(include=["tastevec"]):
        import tastevec.serving.recommender  # noqa: PLC0415  as above
        import tastevec.training.settings  # noqa: F401, PLC0415  as above
        from targets import TARGETS  # noqa: PLC0415  what is imported here is watched
    from mutations import mutated  # noqa: PLC0415  of the tests
    from test_fuzz import look_at  # noqa: PLC0415  as above

    target, place = TARGETS[name], samples_of(found.parent)
    own = Path(shutil.copytree(place, Path(tempfile.mkdtemp()) / "samples"))
    for part in ("corpus", "crashes"):
        (found / part).mkdir(parents=True, exist_ok=True)
    (found / "corpus" / "valid").write_bytes(target.valid(own))
    kept = ROOT / "tests" / "fuzz" / "corpus" / name
    told = [sys.argv[0], str(found / "corpus"), *([str(kept)] if kept.is_dir() else [])]
    told += [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={found / 'crashes'}/",
        f"-max_len={LONGEST}",
        *QUIET,
    ]

    def altered(data: bytes, longest: int, seed: int) -> bytes:
        """By our own ways alone, which know the format: with atheris's own Mutate (3.0.0) processes died of a corrupted heap."""
        return mutated(target.file, data, Random(seed))[:longest]  # noqa: S311  drawn by libFuzzer

    atheris.Setup(told, lambda data: look_at(target, own, data), custom_mutator=altered)
    atheris.Fuzz()


def samples_of(folder: Path) -> Path:
    """The examples, made once for all targets."""
    from samples import write_bundle, write_samples  # noqa: PLC0415  of the tests
    from test_fuzz import with_copies  # noqa: PLC0415  as above

    place = folder / "samples"
    if not place.exists():
        fresh = Path(tempfile.mkdtemp(dir=folder))
        write_samples(fresh)
        try:
            write_bundle(fresh / "bundle", fresh / "prepared")
        except ImportError:
            sys.stdout.write("torch is not installed: bundles are left out\n")
        with_copies(fresh).rename(place)
    return place


def main() -> None:
    """Every target in turn, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help="all, if none is named")
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fuzz")
    parser.add_argument("--one", action="store_true", help="in this process")
    asked = parser.parse_args()
    if asked.one:
        fuzz_one(asked.names[0], asked.seconds, asked.out / asked.names[0])
    from targets import TARGETS  # noqa: PLC0415  of the tests

    asked.out.mkdir(parents=True, exist_ok=True)
    place, crashed = samples_of(asked.out), []
    for name in asked.names or TARGETS:
        if not (place / TARGETS[name].sample / TARGETS[name].file).exists():
            continue
        command = [
            sys.executable,
            __file__,
            name,
            "--one",
            "--seconds",
            str(asked.seconds),
            "--out",
            str(asked.out),
        ]
        with (asked.out / f"{name}.log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        inputs = sorted((asked.out / name / "crashes").glob("*"))
        ended = f"ended with {code}" if code else "nothing"
        sys.stdout.write(f"{name}: {ended}, {len(inputs)} inputs in crashes\n")
        sys.stdout.flush()
        crashed += [name] * bool(code or inputs)
    if crashed:
        sys.exit(f"An error that is none of ours came of {', '.join(crashed)}; see the logs in {asked.out}")


if __name__ == "__main__":
    main()
