"""BLEU and chrF as SeqIO metric functions: `(targets, predictions) -> {name: score}`.

sacrebleu is imported on use: naming a thousand tasks must not load it.
"""

from collections.abc import Sequence

from nmt5.core.bleu_tokenizers import bleu_tokenizer


def bleu(
    targets: Sequence[str], predictions: Sequence[str], *, language: str = ""
) -> dict[str, float]:
    """Returns corpus BLEU, 0 to 100, with the tokenizer that fits the target language."""
    import sacrebleu

    tokenizer = bleu_tokenizer(language)
    score = sacrebleu.corpus_bleu(list(predictions), [list(targets)], tokenize=tokenizer)
    return {"bleu": float(score.score)}


def chrf(targets: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Returns corpus chrF2, 0 to 100."""
    import sacrebleu

    return {"chrf": float(sacrebleu.corpus_chrf(list(predictions), [list(targets)]).score)}
