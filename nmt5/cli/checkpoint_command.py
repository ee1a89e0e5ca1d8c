"""`nmt5 checkpoint`: shows, averages, chooses, compares and extends checkpoints."""

import argparse
import sys

from nmt5.cli import settings
from nmt5.core.errors import ConfigError, unknown_name

DESCRIPTION = """\
show --from=CKPT: print the format, model and step of a checkpoint of any known format; with
--vocabulary, also whether that vocabulary belongs to it.

average CKPT CKPT ... --to=DIR: write the mean of their parameters, without optimizer state.

best RUN --metric=NAME: print the path of the run's checkpoint with the best value of a metric of
metrics.jsonl, or TASK/METRIC of inference_eval/TASK-metrics.jsonl. The other lines go to standard
error.

delta A B: print how far the parameters of B lie from those of A, by part and by tensor.

add-tokens: write a new checkpoint and a new vocabulary (in <to>/vocabulary) with further tokens,
such as language codes, placed below the sentinels. Rows are the mean of the ordinary ones, drawn
like them ('normal'), or copied from a piece ('like:<piece>').

settings: of add-tokens
  AddTokensConfig.source          checkpoint: directory, gs:// path or Hub name (or --from)
  AddTokensConfig.vocabulary      its SentencePiece model, or a directory with one (or --vocabulary)
  AddTokensConfig.target          a new directory (or --to)
  AddTokensConfig.tokens          what to add (or --tokens)
  AddTokensConfig.format, .initialisation, .seed

example:
  nmt5 checkpoint show --from=google/mt5-small
  nmt5 checkpoint average runs/a/checkpoints/checkpoint_{800,900,1000} --to=averaged
  nmt5 checkpoint best runs/a --metric=heldout/nmt/loss
  nmt5 checkpoint delta mt5_small runs/a --limit=10
  nmt5 checkpoint add-tokens --from=mt5_small --vocabulary=V --to=extended --tokens '<2fr>' '<2de>'
"""

# How many checkpoints each action takes; the last column is for the message.
_ACTIONS = {
    "show": (0, 1, "show CKPT"),
    "average": (2, None, "average CKPT CKPT ... --to=DIR"),
    "best": (1, 1, "best RUN --metric=NAME"),
    "delta": (2, 2, "delta A B"),
    "add-tokens": (0, 0, "add-tokens --from=CKPT --vocabulary=V --to=DIR --tokens T ..."),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument("action", help=", ".join(_ACTIONS))
    parser.add_argument("checkpoints", nargs="*", metavar="CKPT", help="checkpoints or a run")
    parser.add_argument("--from", dest="source", help="checkpoint to read")
    parser.add_argument("--vocabulary", help="the checkpoint's vocabulary")
    parser.add_argument("--to", dest="target", help="directory to write")
    parser.add_argument("--format", help="of average: format to write, `nmt5` by default")
    parser.add_argument("--metric", help="of best")
    parser.add_argument("--order", help="of best: lowest or highest, if the name does not tell")
    parser.add_argument("--limit", type=int, default=20, help="of delta: tensors shown, 20")
    parser.add_argument("--tokens", nargs="+", metavar="TOKEN", help="tokens to add")


def run(args: argparse.Namespace) -> None:
    """Does what the action says.

    Raises:
      UserError: an unknown action, missing values, or files that do not fit.
    """
    if args.action not in _ACTIONS:
        raise ConfigError(unknown_name("action", args.action, _ACTIONS))
    settings.parse(args, "AddTokensConfig")
    least, most, usage = _ACTIONS[args.action]
    given = len(args.checkpoints)
    if given < least or (most is not None and given > most):
        raise ConfigError(f"checkpoint {args.action}: {given} paths given; use: {usage}")
    actions = {"show": _show, "average": _average, "best": _best, "delta": _delta}
    actions.get(args.action, _add_tokens)(args)


def _average(args: argparse.Namespace) -> None:
    if not args.target:
        raise ConfigError("checkpoint average: give the new directory as --to=...")
    from nmt5.checkpoints.averaging import AverageConfig, average

    chosen = {"format": args.format} if args.format else {}
    made = average(AverageConfig(sources=args.checkpoints, target=args.target, **chosen))
    print(f"{made.path}: mean of {len(args.checkpoints)}, {made.num_parameters:,} parameters")


def _best(args: argparse.Namespace) -> None:
    if not args.metric:
        raise ConfigError("checkpoint best: give the metric as --metric=...")
    from etils import epath

    from nmt5.checkpoints.best import best_checkpoint
    from nmt5.checkpoints.native_layout import SUBDIRECTORY

    run_directory = epath.Path(args.checkpoints[0])
    inner = run_directory / SUBDIRECTORY
    found = best_checkpoint(
        inner if inner.is_dir() else run_directory,
        scores=_scores(run_directory),
        metric=args.metric,
        order=args.order,
    )
    for step, value in found.values.items():
        mark = "  best" if step == found.step else ""
        print(f"step {step}: {args.metric} {value:.6g}{mark}", file=sys.stderr)
    print(found.checkpoint)


def _scores(run_directory) -> dict[str, dict[int, float]]:
    """Returns `{metric: {step: value}}` of a run's own metrics and of its evaluations."""
    from nmt5.evaluation.inference_files import EVALUATION, read_metrics
    from nmt5.training.metrics import FILE
    from nmt5.training.metrics import read_metrics as read_training_metrics

    lines = [("", line) for line in read_training_metrics(run_directory / FILE)]
    suffix = "-metrics.jsonl"
    for path in sorted((run_directory / EVALUATION).glob(f"*{suffix}")):
        task = path.name.removesuffix(suffix)
        lines += [(f"{task}/", line) for line in read_metrics(run_directory, task=task)]
    scores: dict[str, dict[int, float]] = {}
    for prefix, line in lines:
        for name, value in line.items():
            if name != "step" and isinstance(value, (int, float)):
                scores.setdefault(prefix + name, {})[line["step"]] = float(value)
    if not scores:
        raise ConfigError(
            f"checkpoint best: {run_directory}: no scores, neither in {FILE} nor in {EVALUATION}"
        )
    return scores


def _delta(args: argparse.Namespace) -> None:
    if args.limit < 0:
        raise ConfigError(f"checkpoint delta: --limit is {args.limit}, expected 0 or more")
    from nmt5.checkpoints.delta import by_part, deltas

    found = list(deltas(*args.checkpoints))
    parts = by_part(found)
    found.sort(key=lambda one: -one.relative)
    width = max(len(one.name) for one in parts + found[: args.limit])
    print(f"{'':{width}}  {'|B - A| / |A|':>13}  {'|B - A|':>10}  {'|A|':>10}  {'largest':>10}")
    for one in [*parts, None, *found[: args.limit]]:
        if one is None:
            print()
            continue
        print(
            f"{one.name:{width}}  {one.relative:13.3e}  {one.change:10.3e}  {one.norm:10.3e}  "
            f"{one.largest:10.3e}"
        )
    if len(found) > args.limit:
        print(f"({len(found) - args.limit} more tensors changed less; --limit shows more)")


def _add_tokens(args: argparse.Namespace) -> None:
    names = ("source", "vocabulary", "target", "tokens")
    given = {name: getattr(args, name) for name in names if getattr(args, name)}
    with settings.scope(args):
        config = settings.build("AddTokensConfig", **given)
    from nmt5.checkpoints.vocabulary_bridge import add_tokens

    made = add_tokens(config)
    print(f"{made.path}: {made.num_parameters:,} parameters")
    print(f"{config.target}/vocabulary: {len(config.tokens)} tokens added")


def _show(args: argparse.Namespace) -> None:
    source = args.source or next(iter(args.checkpoints), None)
    if not source:
        raise ConfigError("checkpoint show: give the checkpoint as --from=...")
    from nmt5.checkpoints import hub
    from nmt5.checkpoints.detect import open_checkpoint
    from nmt5.checkpoints.opened import summary
    from nmt5.checkpoints.vocabulary_bridge import check_vocabulary, load_vocabulary

    opened = open_checkpoint(hub.resolve(source, report=print))
    print(f"{source}: {opened.format}, {summary(opened)}")
    for name, value in opened.config.to_dict().items():
        print(f"  {name}: {value}")
    for note in opened.notes:
        print(f"note: {note}")
    if args.vocabulary:
        print(check_vocabulary(opened.config, load_vocabulary(args.vocabulary), where=source))
