"""SeqIO tasks. Importing registers them; text and vocabulary are looked for on first use."""

from nmt5.data.ccmatrix import ccmatrix_corpus
from nmt5.data.languages import task_suffix
from nmt5.data.mc4 import LANGUAGES as MC4_LANGUAGES
from nmt5.data.mc4 import mc4_corpus
from nmt5.data.opus100 import (
    TRAIN_PAIRS,
    ZERO_SHOT_LANGUAGES,
    opus100_corpus,
    zero_shot_corpus,
)
from nmt5.data.registry import add_parallel_task, add_span_corruption_task
from nmt5.data.sources.base import Corpus
from nmt5.data.sources.gettext import ENGLISH, LANGUAGES, GettextSource

# --- mC4: monolingual text in 101 languages, from TFDS -------------------------------------------

MC4_MLM = tuple(
    add_span_corruption_task(f"mc4.mlm.{task_suffix(language)}", mc4_corpus(language)).name
    for language in MC4_LANGUAGES
)

# --- OPUS-100: 99 pairs with English, both directions, the paper's four parallel objectives ------

OPUS100 = {
    objective: tuple(
        add_parallel_task(
            f"opus100.{objective}.{task_suffix(source)}.{task_suffix(target)}",
            corpus,
            source_language=source,
            target_language=target,
            objective=objective,
        ).name
        for corpus in map(opus100_corpus, sorted(TRAIN_PAIRS))
        for source, target in (corpus.source.languages, corpus.source.languages[::-1])
    )
    for objective in ("tlm", "nmt", "denoised_nmt", "denoised_nmt_lm")
}

# Test sets of 15 pairs without English: translation between languages that were never paired.
OPUS100_ZERO_SHOT = tuple(
    add_parallel_task(
        f"opus100.zero_shot.{source}.{target}",
        zero_shot_corpus(source, target),
        source_language=source,
        target_language=target,
    ).name
    for source in ZERO_SHOT_LANGUAGES
    for target in ZERO_SHOT_LANGUAGES
    if source != target
)

# --- CCMatrix: an example of many to many, all 15 pairs of six languages -------------------------

_SIX = ("de", "en", "es", "fr", "ru", "zh")

CCMATRIX_NMT = tuple(
    add_parallel_task(
        f"ccmatrix.nmt.{source}.{target}",
        ccmatrix_corpus(source, target),
        source_language=source,
        target_language=target,
    ).name
    for source in _SIX
    for target in _SIX
    if source != target
)

# --- Messages of installed programs (extra `demo`): text in about a hundred languages ------------

GETTEXT_MLM = tuple(
    add_span_corruption_task(
        f"gettext.mlm.{task_suffix(language)}",
        Corpus(name=f"gettext.{language}", source=GettextSource(languages=(language,))),
    ).name
    for language in (ENGLISH, *LANGUAGES)
)

GETTEXT_NMT = tuple(
    add_parallel_task(
        f"gettext.nmt.{task_suffix(source)}.{task_suffix(target)}",
        Corpus(
            name=f"gettext.{ENGLISH}-{language}",
            source=GettextSource(languages=(ENGLISH, language)),
        ),
        source_language=source,
        target_language=target,
    ).name
    for language in LANGUAGES
    for source, target in ((ENGLISH, language), (language, ENGLISH))
)
