"""Plans of the paper's run, mT5 small to XXL, on TPU pods: does it fit, what does it send?

    python benchmarks/plan.py              # needs libtpu (extra `plan`); minutes per row
    python benchmarks/plan.py --only xxl   # rows whose name holds the word

Every row compiles the step of gin/runs/nmt5_<size>.gin for one pod, and is kept below
benchmarks/results/plan_rows/ so that an interrupted run goes on; delete a file to make its row
anew. Writes benchmarks/results/plan.md from the rows that are there.

Bar: the rows that a run file names fit their pod. Exits 1 if one does not, or is missing.
"""

import argparse
from importlib import metadata
import json
import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROWS = RESULTS / "plan_rows"

# (size, topology, data, fsdp, tensor), and the attention where it is not "auto"
RUN_FILES = {("xxl", "v5p:4x4x8"), ("xl", "v5p:4x4x4"), ("large", "v5e:8x8")}
RUN_FILES |= {("base", "v5e:4x8"), ("small", "v5e:4x8")}
PLANS = (
    ("xxl", "v5p:4x4x8", 2, 16, 4),
    ("xxl", "v3:16x16", 1, 32, 16),
    ("large", "v5e:8x8", 8, 4, 2),
    ("xl", "v5p:4x4x4", 2, 16, 2),
    ("base", "v5e:4x8", 8, 4, 1),
    ("small", "v5e:4x8", 32, 1, 1),
    ("xxl", "v5e:16x16", 1, 32, 8),
    ("xxl", "v4:4x8x8", 1, 32, 8),
    ("xl", "v3:16x16", 2, 16, 16),
    ("xl", "v5e:16x16", 4, 8, 8),
    ("xl", "v4:4x4x8", 4, 8, 4),
    ("large", "v3:8x8", 8, 4, 4),
    ("large", "v4:4x4x4", 8, 4, 2),
    ("large", "v5p:2x4x4", 8, 4, 1),
    ("base", "v3:8x8", 32, 1, 4),
    ("base", "v4:2x4x4", 32, 1, 1),
    ("base", "v5p:2x4x4", 32, 1, 1),
    ("small", "v3:4x4", 32, 1, 1),
    ("small", "v4:2x2x4", 16, 1, 1),
    ("small", "v5p:2x4x4", 32, 1, 1),
)
PLANS += tuple((*row, "pallas") for row in PLANS if row[:2] in RUN_FILES)


def file_of(row):
    """Returns where a row is kept."""
    size, topology, data, fsdp, tensor, *attention = row
    parts = (size, topology.replace(":", "_"), f"{data}x{fsdp}x{tensor}", *attention)
    return ROWS / f"{'_'.join(parts)}.json"


def make(row):
    """Compiles one row."""
    from nmt5.cli import plan_command, settings
    from nmt5.planning.plan import make_plan
    from nmt5.planning.program_text import totals
    from nmt5.planning.topologies import find_topology
    from nmt5.training.run_config import RunConfig

    size, name, data, fsdp, tensor, *attention = row
    args = argparse.Namespace(
        gin_file=[f"gin/runs/nmt5_{size}.gin"],
        gin_bindings=[
            f"MeshConfig.data={data}", f"MeshConfig.fsdp={fsdp}", f"MeshConfig.tensor={tensor}",
            *(f"model_config.attention_backend='{one}'" for one in attention),
        ],
        gin_scope="",
    )  # fmt: skip
    settings.parse(args, "Workspace", *plan_command.SETTINGS)
    built = {one: settings.build(one) for one in plan_command.SETTINGS}
    config = RunConfig(
        train=built["TrainConfig"],
        model=built["model_config"],
        data=built["DataConfig"],
        optimizer=built["OptimizerConfig"],
        loss=built["LossConfig"],
        mesh=built["MeshConfig"],
        checkpoint=built["CheckpointConfig"],
    )
    workspace = settings.build("Workspace")
    mixture = plan_command.planned_mixture(workspace, config)
    plan = make_plan(config, mixture, topology=find_topology(name))
    memory = plan.memory
    return {
        "size": size,
        "topology": name,
        "product": plan.target.product,
        "devices": plan.num_devices,
        "mesh": [data, fsdp, tensor],
        "attention": config.model.attention_backend,
        "rows": {key: value.rows for key, value in plan.layout.items()},
        "encoder_positions": plan.encoder_positions,
        "fits": memory.fits,
        "gib": memory.total / 2**30,
        "hbm_gib": memory.available / 2**30,
        "parameters_gib": memory.parameters / 2**30,
        "temporaries_gib": None if memory.temporaries is None else memory.temporaries / 2**30,
        "collectives": {key: [n, size] for key, (n, size) in totals(plan.collectives).items()},
        "sent_bytes": plan.sent_bytes,
        "model_flops": plan.model_flops,
        "compute_seconds": plan.compute_seconds,
        "moved_bytes": plan.moved_bytes,
        "memory_seconds": plan.memory_seconds,
        "communication_seconds": plan.communication_seconds,
        "roofline_utilisation": plan.roofline_utilisation if plan.collectives else None,
        "hours_at_20": plan.step_seconds(0.2) * config.train.train_steps / 3600,
        "hours_at_35": plan.step_seconds(0.35) * config.train.train_steps / 3600,
        "chips": plan.target.num_chips,
        "compile_seconds": plan.compile_seconds,
    }


def table(found):
    """Returns the table of rows."""
    lines = [
        "| mT5 | topology (sold as) | devices | data x fsdp x tensor | attention | "
        "fits | GiB/device of HBM | sends GiB/device/step | arithmetic s | memory s | "
        "collectives s | bound, % of peak | hours at 35% (chip-hours) |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        fits = "yes" if row["fits"] else "**no**"
        sends, moves, comm, bound = "-", "-", "-", "-"
        if row["collectives"]:
            sends = f"{row['sent_bytes'] / 2**30:.2f}"
            moves = f"{row['memory_seconds']:.3f}"
            comm = f"{row['communication_seconds']:.3f}"
            bound = f"{row['roofline_utilisation']:.0%}"
        lines.append(
            f"| {row['size']} | {row['topology']} ({row['product']}) | {row['devices']} | "
            f"{' x '.join(map(str, row['mesh']))} | {row['attention']} | {fits} | "
            f"{row['gib']:.2f} of {row['hbm_gib']:.0f} | {sends} | "
            f"{row['compute_seconds']:.3f} | {moves} | {comm} | {bound} | {row['hours_at_35']:.0f} "
            f"({row['hours_at_35'] * row['chips']:,.0f}) |"
        )
    return "\n".join(lines) + "\n"


HEADER = """# Plans of the second-stage run

Made by `python benchmarks/plan.py` (jax {jax}, libtpu {libtpu}): the step of `gin/runs/nmt5_*.gin`,
compiled ahead of time as `nmt5 plan` does; no TPU was used. Every step has {positions} encoder
positions ({rows} rows). GiB are the compiler's buffers; half a GiB more must be free for machine
code. Traffic with the main memory and collectives are counted in the program's text with the turns
of its loops, arithmetic includes what is computed twice. The bound is the longest of arithmetic at
the data sheet's peak, memory traffic at its, and collectives one after the other over one torus
axis; the attention kernels ("pallas") compute weights once more and move arrays of 64 in tiles of
128, which neither column has; in percent, the model's own operations at that bound. {number} of
{planned} rows are there.

"""


def write_table():
    """Writes the table of the rows that there are, and returns it."""
    found = [json.loads(file_of(row).read_text()) for row in PLANS if file_of(row).exists()]
    if not found:
        return ""
    head = HEADER.format(
        jax=metadata.version("jax"),
        libtpu=metadata.version("libtpu"),
        positions=" or ".join(sorted({f"{r['encoder_positions']:,}" for r in found})),
        rows=" or ".join(sorted({" + ".join(map(str, r["rows"].values())) for r in found})),
        number=len(found),
        planned=len(PLANS),
    )
    (RESULTS / "plan.md").write_text(head + table(found))
    return table(found)


def main():
    """Makes what is missing and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose file name holds this")
    parser.add_argument("--table", action="store_true", help="make no row, write the table only")
    options = parser.parse_args()
    os.chdir(ROOT)
    ROWS.mkdir(parents=True, exist_ok=True)
    for row in PLANS:
        file = file_of(row)
        if options.table or options.only not in file.name or file.exists():
            continue
        result = make(row)
        file.write_text(json.dumps(result, indent=1) + "\n")
        print(
            f"{file.stem}: {result['gib']:.2f} GiB, {result['compile_seconds']:.0f} s", flush=True
        )
        write_table()
    print(write_table())
    faults = 0
    for row in PLANS:
        if row[:2] not in RUN_FILES:
            continue
        result = json.loads(file_of(row).read_text()) if file_of(row).exists() else None
        passed = result is not None and result["fits"]
        faults += not passed
        print(f"{'pass' if passed else 'FAIL'}  {file_of(row).stem} fits")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
