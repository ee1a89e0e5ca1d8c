"""Which of sacrebleu's tokenizers BLEU needs for which language."""

import re

# sacrebleu's 13a and intl split at spaces and punctuation, so a sentence in these scripts would be
# one token: the same Chinese pair scores 0.0 with intl and 60.7 with zh. sacrebleu's ja-mecab needs
# a dictionary that is not among the dependencies.
_WITHOUT_SPACES = {
    "zh": "zh",
    "ja": "char",
    "th": "char",
    "lo": "char",
    "km": "char",
    "my": "char",
    "bo": "char",
    "dz": "char",
}


def bleu_tokenizer(language: str) -> str:
    """Returns sacrebleu's tokenizer for a language: 13a, or by character without word spaces.

    >>> bleu_tokenizer("fr"), bleu_tokenizer("zh-Hant"), bleu_tokenizer("ja")
    ('13a', 'zh', 'char')
    """
    return _WITHOUT_SPACES.get(re.split("[-_]", language)[0], "13a")
