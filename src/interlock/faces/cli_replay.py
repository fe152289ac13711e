"""`interlock replay` and `interlock parity`: a recorded run again, and two runs side by side.

Not the replay (`replays.py`) and not the comparing (`core/parity.py`). Law: nothing is performed, unless a read is
asked for; the unchanged replay is told first; parity that fails is exit code 1, and says in which step and which field.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.errors import ConfigError, Refused
from interlock.faces.cli_open import find_run, imported_function, look, read_config
from interlock.faces.cli_options import Config as ConfigOption
from interlock.faces.cli_options import Json, OneTenant, config_path, in_json
from interlock.faces.cli_parity import as_document, report
from interlock.faces.cli_print import Bar, complain, document, write_private

if TYPE_CHECKING:
    from interlock.config import Config
    from interlock.core.answers import Comparer
    from interlock.core.parity import Comparison
    from interlock.core.thresholds import Thresholds
    from interlock.core.trace import Trace
    from interlock.replays import Factory, How

Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as one page, too.")]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare", metavar="NAME",
        help="How final answers are compared: exact, words, numbers, json, ignore, or MODULE:FUNCTION of yours.",
    ),
]


class Model(StrEnum):
    """Who says what the model says."""

    RECORDED = "recorded"
    LIVE = "live"


class Miss(StrEnum):
    """What becomes of a call that was not recorded."""

    FAIL = "fail"
    CLOSEST = "closest"
    LIVE_READ = "live-read"


def replay(
    traces: Annotated[list[Path], typer.Argument(metavar="TRACE…", help="Traces, or folders of them.")],
    *,
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent", metavar="MODULE:FACTORY",
            help="What is handed a gateway, registers its tools there, and gives the agent. Left out: the recorded "
            "turns and tools alone.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", metavar="NAME", help="The adapter to run it on. Default: as it was recorded."),
    ] = None,
    model: Annotated[
        Model, typer.Option("--model", help="The recorded turns, or the agent's own model.")
    ] = Model.RECORDED,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, max=1000, help="With --model live: so often.")
    ] = 1,
    on_miss: Annotated[
        Miss,
        typer.Option(
            "--on-miss",
            help="A call that was not recorded fails, gets the closest answer, or, where it only reads, is made.",
        ),
    ] = Miss.FAIL,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="Give a replay up that takes longer.")
    ] = 600,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Keep the replays there.")] = None,
    compare: Compare = None,
    html: Html = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Run recorded runs again, their tools answering from the record, and compare. Nothing is done to the world."""
    from interlock.replays import How, baseline_runtime

    if model is Model.LIVE and agent is None:
        raise typer.BadParameter("--model live needs --agent: a trace holds no model")
    if repeat > 1 and model is not Model.LIVE:
        raise typer.BadParameter("--repeat is for --model live: recorded turns are always the same")
    read = read_config(config)
    factory = None if agent is None else _factory(agent)
    comparer = _comparer(compare)
    chosen = _traces(traces)
    made: list[Comparison] = []
    try:
        each_of = 1 + repeat  # the baseline first
        with Bar("replays", 0, len(chosen) * each_of) as bar:
            for place, trace in enumerate(chosen):
                how = How(
                    runtime=runtime or baseline_runtime(trace), live=model is Model.LIVE, on_miss=on_miss.value,
                    seconds=timeout,
                )
                for nth, each in enumerate(_compared(trace, read, factory, how, repeat, comparer), 1):
                    made.append(each)
                    if out is not None:
                        _keep(out, each)
                    bar.at(len(made), (len(chosen) - place) * each_of - nth)
    except KeyboardInterrupt:
        kept = "" if out is None else f"; kept in {out}"
        complain(f"interrupted: {len(made)} compared so far, {sum(each.passed for each in made)} of them pass{kept}")
        raise
    _report(made, read.parity, html, as_json=as_json)


def parity(
    first: Annotated[str, typer.Argument(metavar="A", help="A trace, a run, or a folder of traces.")],
    second: Annotated[str, typer.Argument(metavar="B", help="A trace, a run, or a folder of replays of those.")],
    compare: Compare = None,
    html: Html = None,
    tenant: OneTenant = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Compare two runs, or traces with their replays: the same calls, the same verdicts, the same stop."""
    from interlock.core.parity import compare as compared

    thresholds = _thresholds(config)
    comparer = _comparer(compare)
    left, right = (_side(name, tenant, config) for name in (first, second))
    made = [compared(one, other, thresholds, comparer) for one, other in _paired(left, right)]
    _report(made, thresholds, html, as_json=as_json)


# --- what is compared ------------------------------------------------------------------------------------------------


def _compared(
    trace: Trace, config: Config, factory: Factory | None, how: How, times: int, comparer: Comparer | None
) -> Iterator[Comparison]:
    from interlock.assemble import SystemClock
    from interlock.replays import compared

    for each in compared(trace, config, factory, how, SystemClock(), times=times, comparer=comparer):
        if times > 1 and not sys.stderr.isatty():  # there, a bar tells it
            complain(f"{each.right.name}: {'same' if each.passed else 'differs'}")
        yield each


def _factory(said: str) -> Factory:
    what = "a function that is handed a gateway"
    return imported_function("--agent", said, like="shop.agents:support_bot", what=what)


def _comparer(said: str | None) -> Comparer | None:
    from interlock.core.answers import comparer_of

    if said is None:
        return None
    if ":" not in said:
        return comparer_of(said)
    what = "a function that is handed two texts"
    return imported_function("--compare", said, like="shop.agents:same_answer", what=what)


def _thresholds(given: Path | None) -> Thresholds:
    """Those of the config; where none is named and none is here, none is needed to compare two files."""
    from interlock.core.thresholds import Thresholds

    path = config_path(given)
    return read_config(given).parity if given is not None or path.exists() else Thresholds()


def _traces(paths: Sequence[Path]) -> list[Trace]:
    from interlock.traces import read, speech

    found = [read(each) for path in paths for each in _files(path)]
    replays = [trace.name for trace in found if trace.replay is not None]
    if replays:
        raise ConfigError(f"{replays[0]} is a replay already: replay the trace that it was made of")
    for trace in found:
        speech(trace)  # what cannot be replayed is named before anything is run
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix == ".json" and each.is_file())
    if not found:
        raise ConfigError(f"{path} holds no traces: no file in it ends in .json")
    return found


def _side(name: str, tenant: str | None, config: Path | None) -> list[Trace]:
    from interlock.traces import export, read

    path = Path(name)
    if path.exists():
        return [read(each) for each in _files(path)]
    if path.suffix == ".json":
        raise ConfigError(f"{name} cannot be read: there is no such file")
    with look(config) as gateway:
        run = find_run(gateway, name, tenant)
        return [export(gateway, run.tenant, run.run_id)]


def _paired(left: Sequence[Trace], right: Sequence[Trace]) -> list[tuple[Trace, Trace]]:
    """Each trace beside each of its replays; two single ones whatever they are."""
    if len(left) == len(right) == 1:
        return [(left[0], right[0])]
    known = {(trace.run.tenant, trace.run.run_id): trace for trace in left if trace.replay is None}
    pairs = []
    for other in right:
        of = (other.run.tenant, other.run.run_id)
        if of not in known:
            raise Refused(f"{other.name}: there is no trace of run {of[1]!r} of tenant {of[0]!r} to compare it with")
        pairs.append((known[of], other))
    alone = [trace.name for of, trace in known.items() if of not in {(o.run.tenant, o.run.run_id) for o in right}]
    if alone:
        raise Refused(f"there is no replay of {', '.join(alone)}: a set is compared whole")
    return pairs


# --- what is told ----------------------------------------------------------------------------------------------------


def _keep(folder: Path, each: Comparison) -> None:
    from interlock.core.names import digest_of
    from interlock.core.trace import encode

    info = each.right.replay
    if info is not None:
        folder.mkdir(parents=True, exist_ok=True)
        what = "baseline" if info.baseline else f"{info.runtime}-{info.model}-{info.turn}"
        name = f"{info.of_tenant}.{info.of_run}.{what}"
        plain = re.sub(r"[^\w.-]", "_", name)[:200]
        if plain != name or "." in info.of_tenant:  # two that are written alike must not be one file
            plain += f"-{digest_of(repr((info.of_tenant, info.of_run, what)))}"
        write_private(folder / f"{plain}.json", encode(each.right))


def _report(made: Sequence[Comparison], thresholds: Thresholds, html: Path | None, *, as_json: bool) -> None:
    from interlock.core.judgement import judge

    judgement = judge(made, thresholds)
    if html is not None:
        from interlock.faces.parity_page import page

        html.write_text(page(made, judgement), "utf-8")
    if in_json(as_json):
        document(as_document(made, judgement, thresholds))
    else:
        report(made, judgement)
    if not judgement.passed:
        raise typer.Exit(1)
