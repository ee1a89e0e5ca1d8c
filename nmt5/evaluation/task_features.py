"""Examples as SeqIO's evaluator sees them: the features of the task, target and prediction.

    input       id, inputs_pretokenized, inputs, targets_pretokenized, targets, references
    target      what the task's metrics compare with: of a benchmark all references
    output      the text that the model wrote
    prediction  that text after the task's postprocessor

A SeqIO task of somebody else's has its own features and its own postprocessor. Ids are cut to the
lengths that were decoded with and end in the end of sequence, as SeqIO trims them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nmt5.data.vocabulary import Vocabulary
from nmt5.decoding.decoding_config import DecodingConfig
from nmt5.evaluation.inference_files import Scored
from nmt5.evaluation.text_to_answer.text_example import TextExample
from nmt5.evaluation.token_examples import TokenExample, input_ids, target_ids


def scored_examples(
    examples: Sequence[TextExample],
    outputs: Sequence[str],
    *,
    vocabulary: Vocabulary,
    decoding: DecodingConfig,
) -> list[Scored]:
    """Returns each example of a task with its output.

    Args:
      examples: all of one task.
      outputs: a text per example.
      vocabulary: of the model.
      decoding: the search, whose lengths ids are cut to.
    """
    features = task_features(examples, vocabulary=vocabulary, decoding=decoding)
    if isinstance(examples[0], TokenExample):
        from nmt5.evaluation.benchmarks.seqio_tasks import postprocessed

        targets, predictions = postprocessed(examples, outputs)
    else:
        targets, predictions = [list(one.references) for one in examples], outputs
    return [
        Scored(inputs=inputs, target=target, output=output, prediction=prediction)
        for inputs, target, output, prediction in zip(
            features, targets, outputs, predictions, strict=True
        )
    ]


def task_features(
    examples: Sequence[TextExample], *, vocabulary: Vocabulary, decoding: DecodingConfig
) -> list[Mapping[str, Any]]:
    """Returns the features of each example, as the task's SeqIO dataset has them.

    Arguments as `scored_examples`.
    """
    eos = vocabulary.token_ids.eos
    limits = decoding.max_input_tokens, decoding.max_output_tokens
    sides = input_ids(examples, vocabulary), target_ids(examples, vocabulary)
    inputs, targets = (
        [np.array([*ids[: limit - 1], eos], np.int32) for ids in side]
        for side, limit in zip(sides, limits, strict=True)
    )
    found: list[Mapping[str, Any]] = []
    for one, ids, wanted in zip(examples, inputs, targets, strict=True):
        if isinstance(one, TokenExample):
            found.append({**one.fields, "inputs": ids, "targets": wanted})
        else:
            found.append(
                {
                    "id": one.id,
                    "inputs_pretokenized": one.inputs,
                    "inputs": ids,
                    "targets_pretokenized": one.targets,
                    "targets": wanted,
                    "references": list(one.references),
                }
            )
    return found
