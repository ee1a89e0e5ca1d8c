import functools

import jax
from jax.extend.core import jaxprs_in_params
import jax.numpy as jnp
import numpy as np
import pytest

from nmt5.model.losses import choose_chunk, head_cross_entropy
from nmt5.model.one_pass_loss import choose_block, choose_tokens


def whole_logits(hidden_ND, head_DV, targets_N, weights_N, *, z_loss, label_smoothing, scale):
    """The loss as T5X writes it, from whole logits."""
    dtype = hidden_ND.dtype
    logits_NV = scale * jnp.matmul(
        hidden_ND,
        head_DV.astype(dtype),
        preferred_element_type=jnp.promote_types(dtype, jnp.float32),
    )
    vocab = head_DV.shape[1]
    confidence, low = 1.0 - label_smoothing, label_smoothing / (vocab - 1)
    q_NV = jax.nn.one_hot(targets_N, vocab) * (confidence - low) + low
    log_z_N = jax.nn.logsumexp(logits_NV, axis=-1)
    loss_N = -jnp.sum(q_NV * (logits_NV - log_z_N[:, None]), axis=-1)
    entropy = 0.0
    if label_smoothing:
        entropy = -(confidence * np.log(confidence) + (vocab - 1) * low * np.log(low))
    z_N = z_loss * log_z_N**2
    correct_N = jnp.argmax(logits_NV, axis=-1) == targets_N
    return {
        "loss": jnp.sum(weights_N * (loss_N - entropy + z_N)),
        "z_loss": jnp.sum(weights_N * z_N),
        "correct": jnp.sum(weights_N * correct_N),
        "weight": jnp.sum(weights_N),
    }


def example(*, tokens=13, width=16, vocab=203, dtype="float32"):
    keys = jax.random.split(jax.random.key(0), 4)
    hidden_ND = jax.random.normal(keys[0], (tokens, width)).astype(dtype)
    head_DV = jax.random.normal(keys[1], (width, vocab))
    targets_N = jax.random.randint(keys[2], (tokens,), 0, vocab)
    # Some targets are the best entry, so that the count of correct ones is tested too.
    best_N = jnp.argmax(hidden_ND.astype(jnp.float32) @ head_DV, axis=-1)
    targets_N = jnp.where(jnp.arange(tokens) % 3 == 0, best_N, targets_N)
    weights_N = jax.random.bernoulli(keys[3], 0.7, (tokens,)).astype(jnp.float32)
    return hidden_ND, head_DV, targets_N, weights_N


@pytest.mark.parametrize(
    ("layout", "vocab", "chunk", "tokens", "shards", "z_loss", "smoothing"),
    [
        ("DV", 203, 50, 5, 1, 1e-2, 0.1),  # a smaller last chunk and group
        ("VD", 203, 50, 5, 1, 1e-2, 0.1),
        ("DV", 203, 7, 13, 1, 1e-2, 0.0),
        ("DV", 203, None, None, 1, 0.0, 0.0),  # one chunk
        ("DV", 204, 17, 1, 1, 0.0, 0.1),  # all chunks alike, each token alone
        ("VD", 204, 204, 7, 1, 1e-2, 0.0),
        ("DV", 203, 50, None, 7, 1e-2, 0.1),  # walks over the vocabulary
        ("DV", 204, 20, None, 4, 1e-2, 0.1),
        ("VD", 204, 20, None, 4, 1e-2, 0.0),
        ("VD", 203, 9, None, 7, 0.0, 0.1),
    ],
)
def test_values_and_gradients_equal_whole_logits(
    layout, vocab, chunk, tokens, shards, z_loss, smoothing
):
    hidden_ND, head_DV, targets_N, weights_N = example(vocab=vocab)
    scale = 0.25 if layout == "VD" else 1.0

    def chunked(hidden_ND, head_DV):
        sums = head_cross_entropy(
            hidden_ND,
            head_DV if layout == "DV" else head_DV.T,
            targets_N,
            weights_N,
            factor=0.4,
            z_loss=z_loss,
            label_smoothing=smoothing,
            layout=layout,
            logit_scale=scale,
            vocab_shards=shards,
            chunk_vocab=chunk,
            chunk_tokens=tokens,
        )
        # Only the objective has a gradient.
        return 0.75 * sums.objective + 0.2 * sums.loss + 0.5 * sums.z_loss, sums

    def reference(hidden_ND, head_DV):
        sums = whole_logits(
            hidden_ND,
            head_DV,
            targets_N,
            weights_N,
            z_loss=z_loss,
            label_smoothing=smoothing,
            scale=scale,
        )
        return 0.3 * sums["loss"], sums

    grads, sums = jax.jit(jax.grad(chunked, argnums=(0, 1), has_aux=True))(hidden_ND, head_DV)
    with jax.enable_x64(True):  # the reference has no roundings of its own
        exact = (np.asarray(hidden_ND, np.float64), np.asarray(head_DV, np.float64))
        expected_grads, expected = jax.tree.map(
            np.asarray, jax.grad(reference, argnums=(0, 1), has_aux=True)(*exact)
        )
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(sums, name), value, rtol=2e-6, err_msg=name)
    for ours, theirs in zip(grads, expected_grads):
        # Entries are differences, p - q, of numbers as large as the largest entry.
        bound = 4 * np.finfo(np.float32).eps * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=bound)


def test_bfloat16_states_keep_float32_sums():
    hidden_ND, head_DV, targets_N, weights_N = example(dtype="bfloat16", tokens=64)

    def ours(hidden_ND, head_DV):
        return head_cross_entropy(
            hidden_ND, head_DV, targets_N, weights_N, chunk_vocab=50
        ).objective

    def theirs(hidden_ND, head_DV):
        return whole_logits(
            hidden_ND, head_DV, targets_N, weights_N, z_loss=0.0, label_smoothing=0.0, scale=1.0
        )["loss"]

    np.testing.assert_allclose(ours(hidden_ND, head_DV), theirs(hidden_ND, head_DV), rtol=1e-6)
    grads = jax.grad(ours, argnums=(0, 1))(hidden_ND, head_DV)
    exact = jax.grad(theirs, argnums=(0, 1))(hidden_ND.astype(jnp.float32), head_DV)
    assert grads[0].dtype == jnp.bfloat16 and grads[1].dtype == jnp.float32
    for mine, true in zip(grads, exact):
        error = jnp.abs(mine.astype(jnp.float32) - true)
        # bfloat16 has 8 bits; the matrix products round states, head and dlogits once each.
        assert float(jnp.mean(error)) < 2**-7 * float(jnp.mean(jnp.abs(true)))


@pytest.mark.parametrize("shards", [1, 2])
def test_logits_are_never_whole(shards):
    """No intermediate has N x V elements, forward or backward."""
    tokens, width, vocab, chunk = 64, 8, 4096, 256

    def loss(hidden_ND, head_DV, targets_N):
        ones_N = jnp.ones(tokens)
        sums = head_cross_entropy(
            hidden_ND,
            head_DV,
            targets_N,
            ones_N,
            chunk_vocab=chunk // shards,
            chunk_tokens=4,
            vocab_shards=shards,
        )
        return sums.objective

    jaxpr = jax.make_jaxpr(jax.grad(loss, argnums=(0, 1)))(
        jnp.ones((tokens, width)), jnp.ones((width, vocab)), jnp.zeros(tokens, jnp.int32)
    )

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (v.aval.size for v in equation.outvars)
            for inner in jaxprs_in_params(equation.params):
                yield from sizes(inner)

    assert tokens * vocab > width * vocab
    assert max(sizes(jaxpr.jaxpr)) == width * vocab


@pytest.mark.parametrize("vocab", [250_112, 256_384, 32_128, 384, 8_009])
@pytest.mark.parametrize("tokens", [1, 512, 8_192])
def test_chunk_fits_the_vocabulary(vocab, tokens):
    chunk = choose_chunk(num_tokens=tokens, vocab=vocab, platform="cpu")
    assert 1 <= chunk <= vocab
    assert chunk * tokens * 4 <= 64 * 2**20 or chunk <= 2048
    if vocab in (250_112, 256_384):
        assert vocab % chunk == 0


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"hidden \(2, 3\), head \(4, 5\) \(DV\)"):
        head_cross_entropy(jnp.ones((2, 3)), jnp.ones((4, 5)), jnp.ones(2, int), jnp.ones(2))
    with pytest.raises(ValueError, match="layout is 'vd'"):
        head_cross_entropy(
            jnp.ones((2, 3)), jnp.ones((3, 5)), jnp.ones(2, int), jnp.ones(2), layout="vd"
        )
    with pytest.raises(ValueError, match="5 entries do not split over 2"):
        head_cross_entropy(
            jnp.ones((2, 3)), jnp.ones((3, 5)), jnp.ones(2, int), jnp.ones(2), vocab_shards=2
        )


@pytest.mark.parametrize(("tokens", "itemsize"), [(512, 4), (8_192, 4), (8_192, 2), (65_536, 2)])
def test_what_one_pass_keeps_is_small(tokens, itemsize):
    group = choose_tokens(num_tokens=tokens, vocab=250_112, itemsize=itemsize)
    kept, whole = group * itemsize * 250_112, tokens * 4 * 250_112
    assert kept <= max(512 * 2**20, 0.045 * whole)
    assert choose_tokens(num_tokens=100, vocab=8_064, itemsize=4) == 100
    for platform in ("cpu", "gpu"):
        choose = functools.partial(choose_block, num_tokens=tokens, tokens=group, platform=platform)
        block = choose(vocab=250_112)
        is_one = platform == "cpu" and tokens == 512
        assert block == 250_112 if is_one else block % 256 == 0
        assert block * group * 4 <= (512 if is_one else 64) * 2**20
        assert choose(vocab=203) <= 256


def test_float32_logits_that_are_not_kept_are_made_in_blocks():
    """Terms of 1,000 tokens in bfloat16 are little enough to keep, their float32 logits are not."""
    assert choose_tokens(num_tokens=1_000, vocab=250_112, itemsize=2) == 1_000
    block = choose_block(num_tokens=1_000, tokens=1_000, vocab=250_112, platform="cpu")
    assert block * 1_000 * 4 <= 8 * 2**20
