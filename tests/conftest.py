"""Settings that must be in place before any test touches a device."""

import os

NUM_CPU_DEVICES = 8

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Threads of XLA's CPU client. With as many as cores, two devices that reach different collectives
# first can hold all threads and wait for each other for ever (seen with 2 devices on 2 cores).
os.environ.setdefault("NPROC", "32")

# The tests compile thousands of small programs and run each a few times: without LLVM's
# optimisations they need 40% less CPU time (tests/training/test_step.py: 136 s, 226 s with them).
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_num_cpu_devices", NUM_CPU_DEVICES)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Two shared cores: a slow example is not a defect, so no deadline.
hypothesis.settings.register_profile("nmt5", deadline=None, max_examples=30)
hypothesis.settings.load_profile("nmt5")


@pytest.fixture(scope="session")
def save_untrained():
    """Returns a function that writes `checkpoint_<step>` of an untrained tiny model into a run."""

    def save(run, *, vocabulary, rows, step, seed=0, **model):
        # Here, so that tests without a model do not import one.
        import jax.numpy as jnp

        from nmt5.checkpoints import manager
        from nmt5.model.config import model_config
        from nmt5.model.parameters import init_params

        config = model_config("tiny", vocab_size=rows, **model)
        description = manager.Description(
            step=step,
            model=config.to_dict(),
            vocabulary_fingerprint=vocabulary.fingerprint,
            vocabulary_size=vocabulary.token_ids.size,
            mixture="toy",
        )
        state = {
            "target": init_params(config, seed=seed),
            "state": {"step": jnp.int32(step)},
        }
        writer = manager.CheckpointWriter(run / manager.SUBDIRECTORY, keep=None)
        writer.save(step, state, feed={}, progress={}, description=description)
        writer.close()

    return save


@pytest.fixture(scope="session", autouse=True)
def eight_devices():
    """Too few devices would make the sharding tests pass without testing anything."""
    if jax.device_count() != NUM_CPU_DEVICES:
        pytest.exit(f"tests need {NUM_CPU_DEVICES} CPU devices, found {jax.device_count()}", 1)
