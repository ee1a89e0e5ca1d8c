"""T5X itself on nmt5's checkpoints, networks and tasks; skipped where T5X is not importable.

`docs/usage/t5x.md` says how to put T5X beside the project.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from nmt5.checkpoints.conversion import ConvertConfig, convert
from nmt5.checkpoints.t5x_export import LegacyWriter
from nmt5.core.errors import ConfigError, VocabularyError
from nmt5.core.pytrees import flatten_paths
from nmt5.data.locations import configure
from nmt5.evaluation.inference_files import read_metrics
from nmt5.evaluation.t5x import network
from nmt5.evaluation.task_config import TaskConfig, resolve_task
from nmt5.evaluation.task_inference import infer_task
from nmt5.evaluation.task_runner import TaskEvaluation, evaluate_task
from nmt5.model.config import model_config
from nmt5.model.parameters import init_params

ROOT = pathlib.Path(__file__).parents[2]
needs_t5x = pytest.mark.skipif(importlib.util.find_spec("t5x") is None, reason="T5X not importable")
# T5X's own use of what JAX has deprecated is no fault here.
of_t5x = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # it leaves event loops open
)
SILENT = {"report": lambda line: None}
BATCH, INPUTS, TARGETS = 8, 24, 16
OF_TASK = {
    "MIXTURE_OR_TASK_NAME": "gettext.nmt.en.de",
    "TASK_FEATURE_LENGTHS": {"inputs": INPUTS, "targets": TARGETS},
}


@pytest.fixture(autouse=True)
def rank_promotion():
    """T5X broadcasts arrays of different ranks, which nmt5's own tests forbid."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def configured(vocabulary):
    configure(vocabulary=vocabulary.model_path)
    yield vocabulary
    configure()


@pytest.fixture(scope="module")
def checkpoint(run_directory):
    return str(run_directory / "checkpoints" / "checkpoint_7")


def test_a_network_is_the_checkpoints(checkpoint, configured):
    config = network(checkpoint=checkpoint, dropout_rate=0.1, dtype="bfloat16").config
    assert config == model_config("tiny", vocab_size=408, dropout_rate=0.1, dtype="bfloat16")
    assert network(checkpoint=[checkpoint]).config.dropout_rate == 0
    assert network(size="tiny").config.vocab_size == 512  # 420 ids, in multiples of 128


def test_what_cannot_be_a_network(checkpoint, configured, other_vocabulary, samples_of_umt5):
    for settings, message in (
        ({"checkpoint": checkpoint, "code": "jax"}, "unknown network 'jax'"),
        ({}, "a checkpoint or a size"),
        ({"checkpoint": checkpoint, "size": "tiny"}, "not both"),
        ({"size": "huge"}, "unknown model size"),
        ({"checkpoint": samples_of_umt5, "code": "t5x"}, "position table per layer"),
    ):
        with pytest.raises(ConfigError, match=message):
            network(**settings)
    configure(vocabulary=other_vocabulary.model_path)
    with pytest.raises(VocabularyError, match="trained with vocabulary"):
        network(checkpoint=checkpoint)


def write_state(path, config, *, seed=0):
    """Writes a T5X checkpoint of step 7 with slots that T5X's Adafactor would have."""
    path.mkdir(parents=True)
    params = flatten_paths(init_params(config, seed=seed))
    writer, rng = LegacyWriter(path), np.random.default_rng(seed)
    writer.write("state/step", np.int32(7))
    one = np.zeros(1, np.float32)
    for name, values in params.items():
        values = np.asarray(values)
        writer.write(f"target/{name}", values)
        held = dict.fromkeys(("v", "v_row", "v_col", "m"), one)
        if values.ndim == 2 and min(values.shape) >= 128:
            small, large = np.sort(values.shape)
            held |= {"v_row": rng.random(small, np.float32), "v_col": rng.random(large, np.float32)}
        else:
            held["v"] = rng.random(values.shape, np.float32)
        for slot, array in held.items():
            writer.write(f"state/param_states/{name}/{slot}", array)
    writer.finish()
    return str(path)


@pytest.fixture(scope="module")
def samples_of_umt5(tmp_path_factory):
    config = model_config("tiny", vocab_size=512, relative_bias="per_layer", emb_dim=128)
    return write_state(tmp_path_factory.mktemp("umt5") / "checkpoint_7", config)


def _t5x_module(config, *, scanned=None):
    """Returns T5X's network: `t5` with joined heads, or the scalable one."""
    names = (
        "vocab_size", "dtype", "emb_dim", "num_heads", "num_encoder_layers", "num_decoder_layers",
        "head_dim", "mlp_dim", "mlp_activations", "dropout_rate", "logits_via_embedding",
    )  # fmt: skip
    fields = {name: getattr(config, name) for name in names}
    if scanned is None:
        from t5x.examples.t5 import network as t5x_network

        return t5x_network.Transformer(t5x_network.T5Config(**fields))
    from t5x.examples.scalable_t5 import network as scalable

    return scalable.Transformer(
        scalable.T5Config(**fields, scan_layers=scanned, remat_policy="none")
    )


def _restored(path, module, *, use_orbax):
    """Returns the whole train state that T5X's own loader gives, strictly, for Adafactor."""
    import seqio
    from t5x import adafactor, models, partitioning, utils

    ids = seqio.PassThroughVocabulary(module.config.vocab_size)
    optimizer = adafactor.Adafactor(
        decay_rate=0.8, logical_factor_rules=adafactor.standard_logical_factor_rules()
    )
    model = models.EncoderDecoderModel(module, ids, ids, optimizer_def=optimizer)
    # One model part, whatever devices there are. With parameters on devices T5X's legacy loader
    # gives `NamedSharding` a None, which jax 0.10 refuses.
    partitioner = partitioning.PjitPartitioner(
        model_parallel_submesh=(1, 1), params_on_devices=False
    )
    shapes = {
        name: (BATCH, INPUTS if name.startswith("encoder") else TARGETS)
        for name in ("encoder_input_tokens", "decoder_input_tokens", "decoder_target_tokens")
    }
    initializer = utils.TrainStateInitializer(
        optimizer_def=optimizer,
        init_fn=model.get_initial_variables,
        input_shapes=shapes,
        input_types=dict.fromkeys(shapes, np.int32),
        partitioner=partitioner,
    )
    wanted = utils.RestoreCheckpointConfig(path=path, mode="specific", dtype="float32", strict=True)
    state, _ = utils.create_checkpoint_manager_and_restore(
        initializer, partitioner, wanted, path, None, use_orbax=use_orbax
    )
    assert state is not None
    return flatten_paths(jax.tree.map(np.asarray, state.state_dict()))


LAYOUTS = {
    "mt5 unscanned": ("shared", None, {}),
    "umt5 heads apart": ("per_layer", False, {}),
    "umt5 scanned": ("per_layer", True, {"layers": "scanned"}),
}


@needs_t5x
@of_t5x
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("format", ["t5x", "t5x_orbax"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_t5x_reads_back_parameters_slots_and_step(layout, format, tmp_path):
    bias, scanned, settings = LAYOUTS[layout]
    # Wide enough for factored slots in nmt5 too.
    config = model_config(
        "tiny", vocab_size=256, emb_dim=144, num_heads=2, head_dim=64, mlp_dim=160,
        relative_bias=bias,
    )  # fmt: skip
    source = write_state(tmp_path / "source" / "checkpoint_7", config)
    target = str(tmp_path / "target")
    made = convert(
        ConvertConfig(source=source, target=target, format=format, slots="keep", **settings),
        **SILENT,
    )
    # The loader for Orbax also takes the legacy format; each format is read by its own too.
    found = _restored(made.path, _t5x_module(config, scanned=scanned), use_orbax=True)
    if format == "t5x":
        own = _restored(made.path, _t5x_module(config, scanned=scanned), use_orbax=False)
        assert own.keys() == found.keys()
        assert all(np.array_equal(own[name], found[name]) for name in own)
    from nmt5.checkpoints.detect import open_checkpoint

    reader = open_checkpoint(made.path).reader
    assert set(reader.specs) == {name for name in found if name != "version"}
    for name in reader.specs:
        np.testing.assert_array_equal(found[name], reader.read(name), err_msg=name)
    assert int(found["state/step"]) == 7


@needs_t5x
@of_t5x
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_t5x_decodes_the_same_ids_with_either_network(checkpoint, configured):
    import seqio
    from t5x import models

    from nmt5.checkpoints.public_import import import_public

    params = import_public(checkpoint)[0]
    params = jax.tree.map(lambda leaf: 2.0 * leaf, params)
    ids = seqio.PassThroughVocabulary(408, eos_id=1)
    rng = np.random.default_rng(0)
    tokens = rng.integers(2, 400, (BATCH, INPUTS)).astype(np.int32)
    tokens[:, -1], tokens[3, 9:], tokens[3, 8] = 1, 0, 1
    targets = rng.integers(2, 400, (BATCH, TARGETS)).astype(np.int32)
    batch = {
        "encoder_input_tokens": tokens,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_target_tokens": targets,
        "decoder_loss_weights": np.ones_like(targets),
    }
    found = {}
    for code in ("nmt5", "t5x"):
        module = network(checkpoint=checkpoint, code=code)
        model = models.EncoderDecoderModel(module, ids, ids, optimizer_def=None)
        decoded = {
            beams: jax.jit(
                lambda p, b, beams=beams, model=model: model.predict_batch_with_aux(
                    p, b, num_decodes=beams, return_all_decodes=True
                )
            )(params, batch)
            for beams in (1, 4)
        }
        scores, _ = jax.jit(lambda p, b, model=model: (model.score_batch(p, b), 0))(params, batch)
        found[code] = (decoded, scores)
    for beams in (1, 4):
        (ours, ours_aux), (theirs, theirs_aux) = (found[c][0][beams] for c in ("nmt5", "t5x"))
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_allclose(ours_aux["scores"], theirs_aux["scores"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["nmt5"][1], found["t5x"][1], rtol=1e-5, atol=1e-4)


def binary(name, vocabulary, settings, *, benchmarks="", fails=False):
    """Runs one of T5X's binaries as a user would; returns what it says."""
    words = [f"--gin.{key}={value!r}" for key, value in settings.items()]
    environment = os.environ | {
        "NMT5_VOCABULARY": os.fspath(pathlib.Path(vocabulary.model_path).parent),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "JAX_PLATFORMS": "cpu",
        "NMT5_BENCHMARKS": str(benchmarks),
    }
    done = subprocess.run(
        [sys.executable, "-m", f"t5x.{name}", f"--gin_file=gin/t5x/{name}.gin", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done.stderr


@needs_t5x
@of_t5x
@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_eval_and_infer_binaries(save_untrained, vocabulary, configured, tmp_path):
    # Without rows that only pad the vocabulary: T5X may write those, and an untrained model does.
    save_untrained(tmp_path, vocabulary=vocabulary, rows=vocabulary.token_ids.size, step=7)
    checkpoint = str(tmp_path / "checkpoints" / "checkpoint_7")
    lines = {}
    for code in ("nmt5", "t5x"):
        output = tmp_path / f"eval_{code}"
        settings = OF_TASK | {
            "CHECKPOINT_PATH": checkpoint,
            "EVAL_OUTPUT_DIR": str(output),
            "NETWORK": code,
            "seqio.Evaluator.num_examples": 8,
        }
        binary("eval", vocabulary, settings)
        (line,) = read_metrics(output, task="gettext.nmt.en.de")
        assert set(line) == {"step", "bleu", "chrf"} and line["step"] == 7
        file = output / "inference_eval" / "gettext.nmt.en.de-000007.jsonl"
        lines[code] = [json.loads(text)["prediction"] for text in file.read_text().splitlines()]
    assert len(lines["nmt5"]) == 8 and lines["nmt5"] == lines["t5x"]

    inferred = tmp_path / "inferred"
    settings = OF_TASK | {"CHECKPOINT_PATH": checkpoint, "INFER_OUTPUT_DIR": str(inferred)}
    binary("infer", vocabulary, settings)
    file = inferred / "gettext.nmt.en.de-predict.jsonl-00000-of-00001"
    rows = [json.loads(text) for text in file.read_text().splitlines()]
    # The task's postprocessor, which only evaluation goes through, strips blanks.
    assert [row["prediction"].strip() for row in rows[:8]] == lines["nmt5"]
    # nmt5's own commands leave the same lines in the same places.
    task = TaskConfig(
        name=OF_TASK["MIXTURE_OR_TASK_NAME"], inputs_tokens=INPUTS, targets_tokens=TARGETS
    )
    common = {
        "benchmark": resolve_task(task, register=lambda: importlib.import_module("mixtures")),
        "task": task,
        "wanted": TaskEvaluation(max_examples=8, num_draws=2),
        "vocabulary": vocabulary,
        "say": lambda line: None,
    }
    evaluate_task(checkpoint, output_dir=tmp_path / "ours", **common)
    (path,) = infer_task(checkpoint, output_dir=tmp_path / "ours", **common)
    assert pathlib.Path(path).name == file.name
    pairs = [(pathlib.Path(path), file)]
    name = "inference_eval/gettext.nmt.en.de-000007.jsonl"
    pairs.append((tmp_path / "ours" / name, tmp_path / "eval_nmt5" / name))
    for ours, theirs in pairs:
        found, expected = (
            [json.loads(text) for text in one.read_text().splitlines()[:8]]
            for one in (ours, theirs)
        )
        assert [list(row.items()) for row in found] == [list(row.items()) for row in expected]
    (line,) = read_metrics(tmp_path / "ours", task="gettext.nmt.en.de")
    assert list(line)[:3] == ["step", "bleu", "chrf"] and line["step"] == 7


@needs_t5x
@of_t5x
@pytest.mark.slow
@pytest.mark.timeout(2000)
def test_the_eval_binary_knows_the_benchmarks(checkpoint, vocabulary, tmp_path):
    question = {"id": "1", "question": "Wer?", "answers": [{"text": "Ada", "answer_start": 0}]}
    paragraphs = [{"context": "Ada war da.", "qas": [question | {"id": str(i)} for i in range(9)]}]
    (tmp_path / "xquad").mkdir()
    for language in ("de", "zh"):
        file = tmp_path / "xquad" / f"xquad.{language}.json"
        file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    settings = OF_TASK | {
        "MIXTURE_OR_TASK_NAME": "xquad_eval.de",
        "CHECKPOINT_PATH": checkpoint,
        "EVAL_OUTPUT_DIR": str(tmp_path / "scores"),
    }
    binary("eval", vocabulary, settings, benchmarks=tmp_path)
    (line,) = read_metrics(tmp_path / "scores", task="xquad_eval.de")
    assert {"em", "f1", "em_tokens", "empty", "sentinels"} <= set(line)
    said = binary(
        "eval",
        vocabulary,
        settings | {"MIXTURE_OR_TASK_NAME": "xquad_evla.de"},
        benchmarks=tmp_path,
        fails=True,
    )
    assert "unknown SeqIO task or mixture 'xquad_evla.de'; nearest: 'xquad_eval.de'" in said


@needs_t5x
@of_t5x
@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("slots", ["anew", "kept"])
def test_the_train_binary_goes_on_from_a_checkpoint(slots, checkpoint, vocabulary, tmp_path):
    kept = {}
    if slots == "kept":
        source = write_state(tmp_path / "checkpoint_7", model_config("tiny", vocab_size=408))
        for format in ("nmt5", "t5x_orbax"):
            target = str(tmp_path / format)
            keeping = ConvertConfig(source=source, target=target, format=format, slots="keep")
            source = convert(keeping, **SILENT).path
        checkpoint = source
        kept = {
            "utils.RestoreCheckpointConfig.state_transformation_fns": (),
            "utils.RestoreCheckpointConfig.fallback_to_scratch": False,
        }
    trained = tmp_path / "trained"
    settings = (
        OF_TASK
        | kept
        | {
            "INITIAL_CHECKPOINT_PATH": checkpoint,
            "MODEL_DIR": str(trained),
            "TRAIN_STEPS": 9,
            "BATCH_SIZE": 8,
            "train.eval_period": 2,
            "train.eval_steps": 1,
        }
    )
    binary("train", vocabulary, settings)
    # Back to nmt5: what T5X trained is a checkpoint like any other.
    made = convert(
        ConvertConfig(
            source=str(trained / "checkpoint_9"), target=str(tmp_path / "back"), slots="keep"
        ),
        **SILENT,
    )
    assert made.step == 9 and made.model == dataclasses.replace(
        model_config("tiny", vocab_size=408), dtype=made.model.dtype
    )
