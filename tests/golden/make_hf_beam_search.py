"""Writes hf_beam_search.npz by running transformers' beam search on the toy decoder of the tests.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install torch 'transformers>=4.57' numpy
    /tmp/golden/bin/python tests/golden/make_hf_beam_search.py

The table of logits is that of `tests/decoding/toy_decoder.py`; each source is decoded alone.
"""

import itertools
import pathlib

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent
VOCAB, NUM_IDS, PAD, EOS = 7, 6, 0, 1
NUM_SOURCES, MAX_TOKENS = 40, 12
EARLY_STOPPING = {"no": False, "yes": True, "never": "never"}


class Toy(transformers.PreTrainedModel, transformers.GenerationMixin):
    """Logits of the next id from the last three; the prompt is one padding id."""

    config_class = transformers.PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, table):
        super().__init__(transformers.PretrainedConfig(vocab_size=VOCAB))
        self.table = torch.nn.Parameter(torch.from_numpy(table))

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **kwargs):
        return {"input_ids": input_ids}

    def forward(self, input_ids, attention_mask=None, **kwargs):
        before = torch.nn.functional.pad(input_ids, (2, 0))
        older, old, last = before[:, -3], before[:, -2], before[:, -1]
        logits = self.table[older, old, last][:, None]
        return transformers.modeling_outputs.CausalLMOutput(logits=logits)


def main():
    rng = np.random.default_rng(3)
    table = rng.normal(size=(NUM_SOURCES, VOCAB, VOCAB, VOCAB, VOCAB))
    table = (3.0 * table).astype(np.float32)
    table[..., [PAD, NUM_IDS]] = -40.0  # transformers could write these, nmt5 cannot
    arrays = {}
    for alpha, beam_size, early in itertools.product((0.0, 0.6, 1.0), (2, 3), EARLY_STOPPING):
        tokens = np.zeros((NUM_SOURCES, beam_size, MAX_TOKENS), np.int8)
        scores = np.zeros((NUM_SOURCES, beam_size), np.float32)
        for source in range(NUM_SOURCES):
            found = Toy(table[source]).generate(
                torch.zeros((1, 1), dtype=torch.long),
                attention_mask=torch.ones((1, 1), dtype=torch.long),
                num_beams=beam_size,
                num_return_sequences=beam_size,
                do_sample=False,
                use_cache=False,
                max_new_tokens=MAX_TOKENS,
                length_penalty=alpha,
                early_stopping=EARLY_STOPPING[early],
                pad_token_id=PAD,
                eos_token_id=EOS,
                return_dict_in_generate=True,
                output_scores=True,
            )
            ids = found.sequences[:, 1:].numpy()
            # It takes padding id 0 for none and fills up with the end of sequence.
            ended = np.cumsum(ids == EOS, axis=1) - (ids == EOS)
            ids = np.where(ended > 0, PAD, ids)
            tokens[source, :, : ids.shape[1]] = ids
            scores[source] = found.sequences_scores.numpy()
        arrays[f"tokens_alpha{alpha}_beam{beam_size}_{early}"] = tokens
        arrays[f"scores_alpha{alpha}_beam{beam_size}_{early}"] = scores
    np.savez_compressed(HERE / "hf_beam_search.npz", **arrays)
    print(torch.__version__, transformers.__version__)


if __name__ == "__main__":
    main()
