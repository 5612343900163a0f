"""Prints what was measured and writes it to ``bench/results/``: JSON for machines, one page for people."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
Rows = list[list[str]]


def table(head: Sequence[str], rows: Rows) -> str:
    """Return a markdown table, its columns aligned so that it also reads in a terminal."""
    widths = [max(len(row[column]) for row in [list(head), *rows]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [list(head), *rows]
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _seconds(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds / 1000:.2f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _throughput(part: dict[str, Any]) -> str:
    rows: Rows = []
    for level, found in part["levels"].items():
        best, floor = found["best"], found["best"]["floor"]
        worst = max(run["total_ms"].get("p95", 0) for run in found["repeats"])
        rows.append([
            level,
            f"{_seconds(best['total_ms'].get('p50'))} / {_seconds(best['total_ms'].get('p95'))}",
            _seconds(worst),
            f"{_seconds(floor['total_ms']['p50'])} / {_seconds(floor['total_ms']['p95'])}",
            f"{_ms(best['first_ms'].get('p50'))} / {_ms(best['first_ms'].get('p95'))}",
            f"{_ms(floor['first_ms']['p50'])} / {_ms(floor['first_ms']['p95'])}",
            f"{best['cpu_s_per_1000']:.2f}",
            str(sum(run["errors"] for run in found["repeats"])),
        ])  # fmt: skip
    head = ["turns", "total p50 / p95 s", "worst p95 s", "floor s", "first chunk p50 / p95 ms", "floor ms",
            "CPU s / 1,000 chunks", "errors"]  # fmt: skip
    repeats = max((len(found["repeats"]) for found in part["levels"].values()), default=0)
    return (
        f"200 tokens at 100 a second, all turns sent at once; the best of {repeats} runs, "
        "errors of all of them.\n\n" + table(head, rows)
    )


def _lag(part: dict[str, Any]) -> str:
    rows = [
        [
            level,
            *(_ms(found["lag_ms"].get(name)) for name in ("p50", "p95", "p99")),
            *(_ms(found["lag_newest_ms"].get(name)) for name in ("p50", "p99")),
            f"{_ms(found['floor']['lag_ms']['p50'])} / {_ms(found['floor']['lag_ms']['p99'])}",
            f"{found['chunks'] / max(1, found['events']):.1f}",
            f"{found['cpu_s_per_1000']:.2f}",
            str(found["errors"]),
        ]
        for level, found in part.items()
    ]
    head = ["turns", "lag p50 ms", "p95", "p99", "newest p50", "newest p99", "floor p50 / p99", "chunks an event",
            "CPU s / 1,000 chunks", "errors"]  # fmt: skip
    return (
        "20 chunks a second a turn: from the moment each chunk was due at the provider to its arrival at the "
        "follower; "
        "*newest* is the last chunk of each delivered event only.\n\n" + table(head, rows)
    )


def _most_turns(part: dict[str, Any]) -> str:
    rows = [
        [str(step["turns"]), *(_ms(step["lag_ms"].get(name)) for name in ("p50", "p95", "p99", "max")),
         str(step["errors"]), "yes" if step["holds"] else "no"]
        for step in part["steps"]
    ]  # fmt: skip
    return (
        f"**{part['most']} turns** at {part['rate']:g} chunks a second "
        f"with a p99 lag under {part['limit_ms']:g} ms (searched up to {part['searched_to']}).\n\n"
        + table(["turns at once", "lag p50 ms", "p95", "p99", "max", "errors", "holds"], rows)
    )


def _weight(part: dict[str, Any]) -> str:
    before = f"the server had {part['before'] / 2**20:.0f} MiB before"
    return f"{part['each'] / 1024:.0f} KiB each ({part['count']} at once; {before})."


def _dispatch(part: dict[str, Any]) -> str:
    head = ["of " + str(part["turns"]), "p50 ms", "p95 ms", "p99 ms", "max ms"]
    names = {"waited_ms": "row written to claimed", "accept_ms": "POST answered"}
    rows = [
        [label, *(_ms(part[key].get(pick)) for pick in ("p50", "p95", "p99", "max"))]
        for key, label in names.items()
    ]
    return table(head, rows)


def _idle(part: dict[str, Any]) -> str:
    used = ", ".join(f"{name} {value:.2f} %" for name, value in part["percent_of_a_core"].items())
    return f"Over {part['seconds']:g} s, of one core: {used}. Resident: {part['rss_mib']:.0f} MiB."


def _recovery(part: dict[str, Any]) -> str:
    names = {
        "silence": "SIGKILL of the worker to the first new event",
        "connected": "restart to the follower's reconnection",
        "first_event": "restart to the first new event",
        "terminal": "restart to the turn's end (2 s of it are the provider's)",
    }
    rows = [
        [label, f"{part[key]['median_s']:.2f}", f"{part[key]['max_s']:.2f}"]
        for key, label in names.items()
        if part.get(key)
    ]
    struck = f"{part['struck']} turns struck, " if "struck" in part else f"{len(part['each_s'])} kills, "
    return table(["", "median s", "max s"], rows) + f"\n\n{struck}{len(part['wrong'])} of them not whole."


def _replay(part: dict[str, Any]) -> str:
    names = {"pages": "GET events, pages of 500", "sse": "GET stream (SSE)", "websocket": "websocket, after 0"}
    rows = [
        [label, _ms(part[key]["best_ms"]), _ms(part[key]["ms"]["p50"]), "yes" if part[key]["whole"] else "NO"]
        for key, label in names.items()
    ]
    return table([f"{part['events']} events", "best ms", "median ms", "whole"], rows)


def _faults(part: dict[str, Any]) -> str:
    heads = {
        "faults": "injected",
        "people": "people",
        "turns": "turns ended",
        "messages": "messages",
        "approvals": "approvals",
    }
    rows = [
        [head, ", ".join(f"{what} **{n}**" for what, n in part[key].items())]
        for key, head in heads.items() if key in part
    ]  # fmt: skip
    wrong = "\n".join(f"- {sentence}" for sentence in part["wrong"])
    count = sum(part["turns"].values())
    return (
        f"{count} turns in {part['seconds']:.0f} s, seed {part['seed']}, {part['rollbacks']} "
        f"rollbacks: **{len(part['wrong'])} promises broken**.\n\n"
        + table(["", ""], rows)
        + f"\n\n{wrong}".rstrip()
    )


def _rounds(part: dict[str, Any]) -> str:
    met = ", ".join(f"{what} {n}" for what, n in part["met"].items())
    return (
        f"{part['counted']} messages sent within 50 ms of a turn's end (of {part['tried']} tries): {met}. "
        f"**{len(part['wrong'])}** lost, doubled or out of order."
    )


def _stops(part: dict[str, Any]) -> str:
    rows = []
    for state, ways in part["states"].items():
        for by, found in ways.items():
            pair = [
                f"{_ms(found[key].get('p50'))} / {_ms(found[key].get('p99'))}"
                for key in ("ended_ms", "answered_ms")
            ]
            rows.append([state, "yes" if by == "turn" else "no", *pair, _ms(found["worst_p99_ms"])])
    head = ["state", "turn id", "ended p50 / p99 ms", "answered p50 / p99 ms", "worst ended p99 ms"]
    return (
        "From the request to the end of the turn by the database's clock, and to the answer, which comes after "
        f"the commit; {part['count']} stops a run, the best of {part['repeats']} runs. "
        f"{len(part['wrong'])} went wrong.\n\n" + table(head, rows)
    )


def _waiting(part: dict[str, Any]) -> str:
    few, many, decided = part["none"], part["all"], part["decided"]
    rows = [
        [f"CPU of {name}, % of a core", f"{used:.2f}", f"{many['percent_of_a_core'][name]:.2f}"]
        for name, used in few["percent_of_a_core"].items()
    ]
    rows += [
        [f"resident memory of {name}, MiB", f"{size:.0f}", f"{many['rss_mib'][name]:.0f}"]
        for name, size in few["rss_mib"].items()
    ]
    for key, label in {"usual_ms": "a pass of the sweep", "all_ms": "one with all rules"}.items():
        pair = (few["sweep"][key], many["sweep"][key])
        rows.append([f"{label}, p50 / max ms", *(f"{ms['p50']:.1f} / {ms['max']:.1f}" for ms in pair)])
    names = {
        "request_to_claim_ms": "decide sent to claimed",
        "queued_to_claim_ms": "decision stored to claimed",
        "answered_ms": "decide answered",
    }
    times = [
        [label, *(_ms(decided[key].get(pick)) for pick in ("p50", "p95", "p99", "max"))]
        for key, label in names.items()
    ]
    return (
        f"At rest for {part['seconds']:g} s: **{_times(few, many):.2f} times** the CPU of a server without "
        "any.\n\n"
        + table(["waiting turns", "0", f"{part['count']:,}"], rows)
        + f"\n\n{decided['count']} of them decided one after the other, {len(part['wrong'])} went wrong.\n\n"
        + table(["", "p50 ms", "p95 ms", "p99 ms", "max ms"], times)
    )


def _times(few: dict[str, Any], many: dict[str, Any]) -> float:
    """How much more CPU the server's own processes use; the database's may serve others too."""
    used = [sum(side["percent_of_a_core"][name] for name in side["rss_mib"]) for side in (few, many)]
    return float(used[1] / used[0]) if used[0] else 1.0


def _diagnosing(part: dict[str, Any]) -> str:
    rows = [
        [name.replace("_", " "), *(_ms(found.get(pick)) for pick in ("first", "p50", "p95", "max"))]
        for name, found in part["ms"].items()
    ]
    wrong = "\n".join(f"- {sentence}" for sentence in part["wrong"])
    return (
        f"{part['finished']:,} finished turns over 90 days, 3 % of them failed, and {part['live']:,} live ones: "
        f"the diagnostics, and the first page of each category, {part['repeats']} times each. The diagnostics are "
        f"to take {part['limit_ms']:g} ms at p95; {len(part['wrong'])} things are wrong.\n\n"
        + table(["over REST", "first ms", "p50 ms", "p95 ms", "max ms"], rows)
        + f"\n\n{wrong}".rstrip()
    )


_TITLES = {
    "throughput": ("Throughput", _throughput),
    "lag": ("Added lag", _lag),
    "most_turns": ("Most turns", _most_turns),
    "memory_turn": ("Memory of a live turn and its follower", _weight),
    "memory_follower": ("Memory of a waiting follower", _weight),
    "dispatch": ("Dispatch", _dispatch),
    "idle": ("Idle", _idle),
    "recovery": ("Recovery", _recovery),
    "replay": ("Replay", _replay),
    "faults": ("Fault run", _faults),
    "close_rounds": ("Messages at the end of turns", _rounds),
    "stops": ("Stops", _stops),
    "stops_without_redis": ("Stops without Redis", _stops),
    "waiting": ("Waiting turns", _waiting),
    "diagnosing": ("Diagnostics with a long history", _diagnosing),
}


def show(name: str, part: Any) -> None:
    """Print one part."""
    title, write_part = _TITLES[name]
    print(f"\n{title}\n\n{write_part(part)}\n", flush=True)


def problems(parts: dict[str, Any]) -> int:
    """Count the turns that went wrong; the search for the most turns may fail, that is its end."""
    count: int = sum(len(part.get("wrong", ())) + part.get("errors", 0) for part in parts.values())
    for found in parts.get("throughput", {}).get("levels", {}).values():
        count += sum(run["errors"] for run in found["repeats"])
    count += sum(found["errors"] for found in parts.get("lag", {}).values())
    replays = (way for way in parts.get("replay", {}).values() if isinstance(way, dict))
    return count + sum(not way["whole"] for way in replays)


# --- files -----------------------------------------------------------------------------------


def write(meta: dict[str, Any], parts: dict[str, Any]) -> None:
    """Write ``<date>-<stack>.json``, parts measured alike on the same day kept, and the page."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-{meta['stack']}.json"
    earlier = json.loads(path.read_text()) if path.exists() else {}
    # One heading describes all parts, so only what was measured in the same way may stay under it.
    alike = all(earlier.get(name) == meta[name] for name in ("workers", "settings", "machine"))
    kept = earlier["parts"] if earlier and alike else {}
    if kept:
        meta = {**meta, "load_before": max(meta["load_before"], earlier.get("load_before", 0))}
    path.write_text(json.dumps({**meta, "parts": {**kept, **parts}}, indent=1) + "\n")
    (RESULTS / "README.md").write_text(_page())


def _newest(kind: str) -> dict[str, Any] | None:
    paths = sorted(RESULTS.glob(f"*-{kind}.json"))
    return dict(json.loads(paths[-1].read_text())) if paths else None


def _page() -> str:
    sections = [
        "# Results\n\nThe newest run of each stack; how it is measured is in [`../README.md`](../README.md)."
    ]
    newest = {kind: _newest(kind) for kind in ("embedded", "scaled")}
    sections += [_stack_section(kind, found) for kind, found in newest.items() if found]
    return "\n\n".join(sections) + "\n"


def _stack_section(kind: str, found: dict[str, Any]) -> str:
    machine = dict(found["machine"])
    libraries = ", ".join(f"{name} {version}" for name, version in machine.pop("libraries").items())
    described = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    workers = f", {found['workers']} worker process(es)" if found.get("workers") else ""
    load = f"Highest load average before a run: {found.get('load_before', 'not noted')}."
    lines = [f"## {kind.capitalize()}", f"{found['began'][:10]}{workers}. {described}. {libraries}. {load}"]
    for name, (title, write_part) in _TITLES.items():
        if name in found["parts"]:
            lines.append(f"### {title}\n\n{write_part(found['parts'][name])}")
    return "\n\n".join(lines)
