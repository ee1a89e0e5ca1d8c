"""`nmt5 plan`: what a run will need, before anything is paid for."""

import argparse
import dataclasses

from nmt5.cli import settings
from nmt5.core.errors import ConfigError

DESCRIPTION = """\
Compile the train step of a run for a TPU pod that need not be there (--topology, needs the extra
`plan`), or for the devices of this machine, and print what it needs: memory of a device against
what the device has, operations, collectives with their bytes, a bound on the time of a step, and
days and chip-hours of the run. The text need not be prepared: rows follow from the mixture's
objectives and shares. All that can be refused is refused before anything is compiled.

settings: those of `nmt5 train`; in particular
  MeshConfig.data, .fsdp, .tensor, .preset, .rules
  model_config.remat, model_config.scan_layers, DataConfig.encoder_tokens_per_batch

example:
  nmt5 plan --gin_file=gin/runs/nmt5_large.gin --topology=v5e:16x16
  nmt5 plan --gin_file=gin/runs/nmt5_large.gin --topology=v5e:16x16 --search
"""
SETTINGS = (
    "TrainConfig",
    "model_config",
    "DataConfig",
    "OptimizerConfig",
    "LossConfig",
    "MeshConfig",
    "CheckpointConfig",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's own arguments."""
    parser.add_argument(
        "--topology", metavar="NAME", help="a TPU pod by JAX's name: v5e:16x16, v5p:4x4x8, v3:8x8"
    )
    parser.add_argument(
        "--search",
        action="store_true",
        help="list the five meshes that should be fastest of those that should fit; estimated. "
        "Of this machine's devices, those that send least",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="generate the pod's machine code too, and count its size: many times the work",
    )
    parser.add_argument(
        "--shardings",
        action="store_true",
        help="print how every parameter and optimizer slot is split, and compile nothing",
    )


def run(args: argparse.Namespace) -> None:
    """Prints the plan."""
    settings.parse(args, "Workspace", *SETTINGS)
    with settings.scope(args):
        workspace = settings.build("Workspace")
        built = {name: settings.build(name) for name in SETTINGS}
    if args.topology is not None:
        # Nothing runs: a TPU that is there must not be taken, one that is not must not be sought.
        import jax

        jax.config.update("jax_platforms", "cpu")
    from nmt5.planning.topologies import find_topology, topology_devices
    from nmt5.training.run_config import RunConfig

    config = RunConfig(
        train=built["TrainConfig"],
        model=built["model_config"],
        data=built["DataConfig"],
        optimizer=built["OptimizerConfig"],
        loss=built["LossConfig"],
        mesh=built["MeshConfig"],
        checkpoint=built["CheckpointConfig"],
    )
    topology = None if args.topology is None else find_topology(args.topology)
    mixture = planned_mixture(workspace, config)
    if args.search:
        _print_search(config, mixture, topology)
        return
    if args.shardings:
        from nmt5.training.step_program import step_program

        devices = None if topology is None else topology_devices(topology)
        print(shardings_table(step_program(config, mixture, devices=devices)), end="")
        return
    from nmt5.planning.advice import nearest_change
    from nmt5.planning.plan import make_plan
    from nmt5.planning.plan_text import change_text, plan_text

    plan = make_plan(config, mixture, topology=topology, whole=args.whole)
    print(plan_text(plan, config))
    if plan.memory.fits is False:
        print("\nlooking for the nearest change that makes it fit ...", flush=True)
        print(change_text(nearest_change(plan, config, mixture)))


def planned_mixture(workspace, config):
    """Returns the run's mixture, or one with its objectives and shares if no text is prepared yet.

    Raises:
      DataError: an unknown mixture.
      ConfigError: shares that only prepared text can tell.
    """
    from nmt5.data.mixture import GroupSpec, Mixture, TaskSpec, TokenIds

    name = config.data.mixture
    if name.endswith(".json") or (workspace.store and workspace.mixture_path(name).exists()):
        return workspace.find_mixture(name)
    workspace.register()
    from nmt5.data.registry import mixture_definition

    definition = mixture_definition(name)
    if definition.rates is not None:
        raise ConfigError(
            f"plan: mixture '{name}' was registered with rates of examples; its shares of tokens "
            "are known once its text is prepared (`nmt5 prepare`)"
        )
    if workspace.shares is not None:
        definition = dataclasses.replace(definition, shares=workspace.shares)
    elif workspace.parallel_share is not None:
        definition = dataclasses.replace(
            definition, parallel_share=workspace.parallel_share, shares=None
        )
    shares = definition.group_shares()
    groups = tuple(
        GroupSpec(
            objective=objective,
            settings=tasks[0].settings,
            share=shares[objective],
            tasks=tuple(
                TaskSpec(
                    name=task.name, corpus=task.corpus.name, languages=task.languages, rate=1.0
                )
                for task in tasks
            ),
        )
        for objective, tasks in definition.groups().items()
    )
    ids = TokenIds(size=config.model.vocab_size, num_sentinels=100, fingerprint="")
    return Mixture(name=name, vocabulary=ids, groups=groups)


def shardings_table(program) -> str:
    """Returns a line for each leaf of the state: path, shape, mesh axes, shape on one device."""
    import jax

    lines = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(program.state.to_tree()):
        name = "/".join(str(getattr(key, "key", key)) for key in path)
        name = name.removeprefix("target/").removeprefix("state/")
        spec = tuple(leaf.sharding.spec)
        local = leaf.sharding.shard_shape(leaf.shape)
        lines.append(f"{name} {leaf.shape} {spec} {local}\n")
    return "".join(sorted(lines))


def _print_search(config, mixture, topology) -> None:
    from nmt5.planning.hardware import hardware_of
    from nmt5.planning.search import best_meshes
    from nmt5.planning.topologies import GIB

    hardware = hardware_of(topology)
    found = best_meshes(config, mixture, hardware)
    print(f"{hardware.description}\npreset '{config.mesh.preset}'; estimated, not compiled:\n")
    print(
        f"{'data':>5} {'fsdp':>5} {'tensor':>6} {'GiB/device':>11} {'GiB sent':>9} {'s/step':>7} "
        f"{'positions':>11}"
    )
    for one in found:
        data, fsdp, tensor = one.mesh
        seconds = "-" if one.seconds is None else f"{one.seconds:.2f}"
        print(
            f"{data:5} {fsdp:5} {tensor:6} {one.total_bytes / GIB:11.2f} "
            f"{one.sent_bytes / GIB:9.2f} {seconds:>7} {one.encoder_positions:11,}"
        )
    if topology is None:
        print("\nthe speed of this machine's connections is not known: ranked by bytes sent")
    print("\ncompile one: the same command without --search, with --gin.MeshConfig.data=... etc.")
