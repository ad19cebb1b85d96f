"""Copies what a run measured from `build/records` to `book/records`, which is committed and which the book quotes.

    python -m slmkit.course.promote --profile full C105 04-attention

A smoke run is never promoted, nor a record without a verdict.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence

from slmkit.course.records import TOO_FEW, RecordError
from slmkit.paths import build_folder, root


def promote(profile: str, names: Sequence[str] = ()) -> list[str]:
    """Copies records and findings of a cpu or full run into book/records; all, or those named. Returns their names.

    Those of a cpu run never take the place of a full one's.
    """
    if profile not in ("cpu", "full"):
        raise RecordError(f"records of profile {profile!r} stay out of the book; promote cpu or full")
    source, target = build_folder() / "records" / profile, root() / "book" / "records"
    found = {path.stem: path for path in sorted((*source.glob("*.json"), *source.glob("findings/*.json")))}
    if missing := [name for name in names if name not in found]:
        raise RecordError(f"there is no {profile} record of {missing[0]} under {source}; run its lab in that profile")
    moved = []
    for name in names or found:
        kept = target / found[name].relative_to(source)
        if json.loads(found[name].read_text()).get("verdict") == TOO_FEW:
            continue
        if profile == "cpu" and kept.exists() and json.loads(kept.read_text())["profile"] == "full":
            continue
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found[name], kept)
        moved.append(name)
    return moved


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m slmkit.course.promote", description=promote.__doc__.splitlines()[0]
    )
    parser.add_argument("names", nargs="*", help="such as C105 or 04-attention; default all of the profile")
    parser.add_argument("--profile", default="full", choices=["cpu", "full"])
    options = parser.parse_args(arguments)
    try:
        moved = promote(options.profile, options.names)
    except RecordError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(moved)} copied to book/records: {', '.join(moved) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
